//! `cargo xtask ci`: what has to pass before a merge.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::{Outcome, bench, cargo, lint, no_arguments, test};

pub(crate) fn run(args: &[OsString]) -> Outcome {
    no_arguments("ci", args)?;
    lint::run(&[])?;
    // Before the tests, so that the last lines on the screen are the test runner's own.
    cargo::check(bench::command(&[]).arg("--no-run"))?;
    let tested = test::run(&[])?;
    if tested != ExitCode::SUCCESS {
        eprintln!("ci: the tests failed");
    }
    Ok(tested)
}
