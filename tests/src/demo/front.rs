//! The front: starts the director, passes its output on, and answers for its leaving nothing
//! behind.

use std::fs::DirBuilder;
use std::io::{self, IsTerminal};
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};

use super::actors::Actors;
use super::options::Options;
use super::setup::Setup;
use super::sweep;
use crate::clock;

pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let actors = Actors::find()?;
    sweep::adopt_orphans().context("become the reaper of orphans")?;
    let run = folder()?;
    let setup = Setup {
        colour: colour(options),
        run: run.clone(),
        actors,
        options: options.clone(),
    };
    symlink(&setup.actors.watchdog_shim, setup.supervisor()).context("link watchdog-shim")?;
    let outcome = play(&setup);
    // A director that came to its end has swept already, and nothing is found.
    sweep::sweep(&run);
    outcome
}

fn play(setup: &Setup) -> Result<ExitCode> {
    let mut director = Command::new(std::env::current_exe().context("find this program")?)
        .arg("--director")
        .arg(serde_json::to_string(setup)?)
        // Our end closes with us; nothing is ever written to it.
        .stdin(Stdio::piped())
        // Not the terminal itself: in the background it might stop whoever writes to it.
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .context("start the director")?;
    let _held = director.stdin.take();
    if let Some(mut output) = director.stdout.take() {
        // A reader that went away (`demo | head`) does not end the play.
        let _ = io::copy(&mut output, &mut io::stdout());
    }
    let status = director.wait().context("wait for the director")?;
    match status.code() {
        Some(code) => Ok(ExitCode::from(u8::try_from(code).unwrap_or(1))),
        // Killed from outside: it could say nothing itself.
        None => bail!("the demo's director was ended: {status}"),
    }
}

/// A new folder that nobody else can write to; its path is unlike any other run's.
fn folder() -> Result<PathBuf> {
    let name = format!("shim-demo-{}-{:x}", std::process::id(), clock::now());
    let folder = Path::new(&std::env::temp_dir()).join(name);
    let made = DirBuilder::new().mode(0o700).create(&folder);
    made.with_context(|| format!("create {}", folder.display()))?;
    Ok(folder)
}

/// <https://no-color.org>
fn colour(options: &Options) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal() && !options.json && !refused
}
