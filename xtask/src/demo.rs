//! `cargo xtask demo`: builds the demo and the programs that play in it, and runs it.

use std::ffi::OsString;

use crate::{Outcome, cargo};

const PROGRAMS: [&str; 5] = [
    "demo",
    "demo_runtime",
    "demo_shim",
    "http_server",
    "shim_under_test",
];

pub(crate) fn run(args: &[OsString]) -> Outcome {
    let mut build = cargo::cargo(["build", "--quiet", "--package", "workspace-tests"]);
    build.args(PROGRAMS.iter().flat_map(|name| ["--bin", name]));
    cargo::check(&mut build)?;
    let mut demo = cargo::cargo(["run", "--quiet", "--package", "workspace-tests"]);
    let status = demo.args(["--bin", "demo", "--"]).args(args).status()?;
    Ok(cargo::exit_code(status))
}
