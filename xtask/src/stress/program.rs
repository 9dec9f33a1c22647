//! A program of the package `workspace-tests` that takes long, in a PID namespace of its own.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, bail};
use xshell::cmd;

use crate::long::{Contained, Interrupt};
use crate::shell;

/// How long a program may take to end in good order, and to say what it has seen until then.
const PATIENCE: Duration = Duration::from_secs(60);

/// Builds the programs for release, and runs the first of them to its end. It hears of ^C by the
/// end of its standard input.
pub(super) fn run<const N: usize>(programs: [&str; N], args: &[OsString]) -> Result<()> {
    let interrupt = Interrupt::catch()?;
    let shell = shell::shell()?;
    let wanted = programs.map(|program| format!("--bin={program}"));
    let build = cmd!(
        shell,
        "cargo build --quiet --release --package workspace-tests {wanted...}"
    );
    shell::run_quietly(build)?;
    interrupt.check()?;
    let path = shell::target().join("release").join(programs[0]);
    let mut command = Contained::command(path);
    command.args(args).stdin(Stdio::piped());
    let status = Contained::start(&mut command)?.wait_for_good_end(PATIENCE, &interrupt)?;
    interrupt.check()?;
    if !status.success() {
        bail!("{}: {status}", programs[0]);
    }
    Ok(())
}
