//! Running commands at the workspace's root, and telling how they ended.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::{env, fmt, path};

use anyhow::{Context, Result};
use xshell::{Cmd, Shell};

/// The workspace's root, wherever the command is given from.
pub(crate) fn root() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

/// The folder of what is built, which the environment may name.
pub(crate) fn target() -> PathBuf {
    let named = env::var_os("CARGO_TARGET_DIR").filter(|target| !target.is_empty());
    // A path that is not absolute is meant from where cargo was started.
    let named = named.and_then(|target| path::absolute(target).ok());
    named.unwrap_or_else(|| root().join("target"))
}

/// At the root; every command below has the same target folder, wherever it runs itself.
pub(crate) fn shell() -> Result<Shell> {
    let shell = Shell::new().context("find the current folder")?;
    shell.change_dir(root());
    if env::var_os("CARGO_TARGET_DIR").is_some() {
        shell.set_var("CARGO_TARGET_DIR", target());
    }
    Ok(shell)
}

/// A command that has failed, and said why itself.
#[derive(Debug)]
pub(crate) struct Failed {
    command: String,
    status: ExitStatus,
}

impl Failed {
    /// That of the command; 1 where a signal ended it.
    pub(crate) fn exit_code(&self) -> ExitCode {
        let code = self.status.code().and_then(|code| u8::try_from(code).ok());
        code.map_or(ExitCode::FAILURE, ExitCode::from)
    }

    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.command, self.status)
    }
}

impl std::error::Error for Failed {}

/// Says what is about to run, and runs it to its end, with our own streams and without a standard
/// input to wait on.
pub(crate) fn run(command: Cmd<'_>) -> Result<()> {
    eprintln!("$ {command}");
    run_quietly(command)
}

/// As [`run`], where the command is not what one wants to read of.
pub(crate) fn run_quietly(command: Cmd<'_>) -> Result<()> {
    let line = command.to_string();
    let mut command = Command::from(command);
    let status = command
        .stdin(std::process::Stdio::null())
        .status()
        .with_context(|| format!("run {line}"))?;
    if status.success() {
        return Ok(());
    }
    Err(Failed {
        command: line,
        status,
    }
    .into())
}
