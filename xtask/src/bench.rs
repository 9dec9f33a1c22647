//! `cargo xtask bench`: the comparisons across crates, as a table, a page with plots, and (`--check`) beside the
//! committed baseline. With a package, a filter or `--no-run`: `cargo bench`.

mod check;
mod plot;
mod report;
mod samples;
mod suite;

pub(crate) use samples::machine;

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use crate::{Outcome, cargo};

pub(crate) fn run(args: &[OsString]) -> Outcome {
    if let Some(wanted) = suite::Wanted::parse(args)? {
        return suite::run(&wanted);
    }
    let (cargos, criterions) = split(args);
    let mut command = command(&cargos);
    if !criterions.is_empty() {
        command.arg("--").args(criterions);
    }
    cargo::check(&mut command)?;
    Ok(ExitCode::SUCCESS)
}

/// `cargo bench` of the criterion targets alone: the harness of unit tests, which `cargo bench` would
/// run as well, does not know criterion's arguments.
pub(crate) fn command(cargos: &[OsString]) -> Command {
    let mut command = cargo::cargo(["bench", "--all-features", "--bench", "*"]);
    if !cargos.iter().any(|arg| arg == "-p") {
        command.arg("--workspace");
    }
    command.args(cargos);
    command
}

/// What is cargo's own (`-p PACKAGE`, `--no-run`) stands in front; all that follows is criterion's,
/// whether or not a `--` was typed before it.
fn split(args: &[OsString]) -> (Vec<OsString>, &[OsString]) {
    let mut cargos = Vec::new();
    let mut rest = args;
    loop {
        rest = match rest {
            [flag, package, tail @ ..] if flag == "-p" || flag == "--package" => {
                cargos.extend([OsString::from("-p"), package.clone()]);
                tail
            }
            [flag, tail @ ..] if flag == "--no-run" => {
                cargos.push(flag.clone());
                tail
            }
            [dashes, tail @ ..] if dashes == "--" => return (cargos, tail),
            _ => return (cargos, rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_cargos_own_is_criterions() {
        let args = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let line = args("-p fd-preserve --no-run spawn --quick");
        assert_eq!(
            split(&line),
            (args("-p fd-preserve --no-run"), &args("spawn --quick")[..])
        );
        let line = args("-- --no-run");
        assert_eq!(split(&line), (Vec::new(), &args("--no-run")[..]));
    }
}
