//! `cargo xtask demo`: the main job on real programs. See [`workspace_tests::demo`].

use std::process::ExitCode;

use clap::Parser;
use workspace_tests::demo::{self, Options};

fn main() -> ExitCode {
    demo::main(&Options::parse()).unwrap_or_else(|error| {
        eprintln!("demo: {error:#}");
        ExitCode::FAILURE
    })
}
