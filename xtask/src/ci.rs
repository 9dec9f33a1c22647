//! `cargo xtask ci`: what has to pass before a merge.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Context;

use crate::{Outcome, bench, cargo, lint, loom, no_arguments, test};

pub(crate) fn run(args: &[OsString]) -> Outcome {
    no_arguments("ci", args)?;
    lint::run(&[])?;
    cargo::check(&mut bench::command(&["--no-run".into()]))?;
    // In a process of its own, which becomes the reaper of orphans: the tests need the usual one.
    let this = std::env::current_exe().context("find this program")?;
    cargo::check(Command::new(this).arg("demo"))?;
    loom::run(&[])?;
    // Last, so that the last lines on the screen are the test runner's own.
    test::run(&[])
}
