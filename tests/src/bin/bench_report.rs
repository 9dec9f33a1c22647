//! `cargo xtask bench` reports by this. See [`workspace_tests::report`].

use std::process::ExitCode;

use clap::Parser;
use workspace_tests::report::{self, Options};

fn main() -> ExitCode {
    report::main(&Options::parse()).unwrap_or_else(|error| {
        eprintln!("bench_report: {error:#}");
        ExitCode::FAILURE
    })
}
