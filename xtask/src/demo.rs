//! `cargo xtask demo`: builds the demo and the programs that play in it, and runs it.

use std::ffi::OsString;

use anyhow::Result;
use xshell::cmd;

use crate::shell;

const PROGRAMS: [&str; 5] = [
    "--bin=demo",
    "--bin=demo_runtime",
    "--bin=demo_shim",
    "--bin=http_server",
    "--bin=shim_under_test",
];

/// The main job on real programs: kill a runtime, and watch what its shims do
#[derive(Debug, Default, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// The demo's own: --help has them
    #[arg(
        value_name = "ARGS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    args: Vec<OsString>,
}

impl Args {
    pub(crate) fn run(&self) -> Result<()> {
        let args = &self.args;
        let shell = shell::shell()?;
        let build = cmd!(
            shell,
            "cargo build --quiet --package workspace-tests {PROGRAMS...}"
        );
        shell::run_quietly(build)?;
        let demo = cmd!(
            shell,
            "cargo run --quiet --package workspace-tests --bin demo -- {args...}"
        );
        shell::run_quietly(demo)
    }
}
