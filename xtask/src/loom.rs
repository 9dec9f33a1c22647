//! `cargo xtask loom`: every order in which threads can meet in the watcher's registry.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::{Outcome, cargo};

/// Optimised, since loom runs each test many thousand times; in a folder of its own, since the flag changes
/// every crate and would have the usual build made anew.
pub(crate) fn run(filters: &[OsString]) -> Outcome {
    let mut command = cargo::cargo([
        "test",
        "-p",
        "pidfd-watcher",
        "--lib",
        "--release",
        "--target-dir",
        "target/loom",
        "--",
        "loom",
    ]);
    command.args(filters).env("RUSTFLAGS", "--cfg loom");
    cargo::check(&mut command)?;
    Ok(ExitCode::SUCCESS)
}
