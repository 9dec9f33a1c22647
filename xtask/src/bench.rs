//! `cargo xtask bench`: every benchmark of the workspace.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use crate::{Outcome, cargo};

pub(crate) fn run(args: &[OsString]) -> Outcome {
    let mut packages: Vec<OsString> = Vec::new();
    let mut rest = args;
    while let [flag, package, tail @ ..] = rest
        && (flag == "-p" || flag == "--package")
    {
        packages.extend([OsString::from("-p"), package.clone()]);
        rest = tail;
    }
    // All that is left is for criterion, whether or not a `--` was typed in front of it.
    let rest = rest.iter().filter(|arg| *arg != "--");

    let mut command = command(&packages);
    command.arg("--").args(rest);
    cargo::check(&mut command)?;
    Ok(ExitCode::SUCCESS)
}

/// `cargo bench` of the criterion targets alone: the harness of unit tests, which `cargo bench` would
/// run as well, does not know criterion's arguments.
pub(crate) fn command(packages: &[OsString]) -> Command {
    let mut command = cargo::cargo(["bench", "--all-features", "--bench", "*"]);
    if packages.is_empty() {
        command.arg("--workspace");
    }
    command.args(packages);
    command
}
