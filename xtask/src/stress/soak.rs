//! `cargo xtask stress soak`: a runtime that works without end, watched for growth.

use std::ffi::OsString;

use anyhow::Result;

use super::program;

/// Let a runtime work for minutes or hours, and see whether anything grows
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// The program's own, such as --minutes and --seed: --help has them
    #[arg(
        value_name = "ARGS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    args: Vec<OsString>,
}

impl Args {
    pub(crate) fn run(&self) -> Result<()> {
        let programs = ["soak", "soak_runtime", "shim_box", "shim_under_test"];
        program::run(programs, &self.args)
    }
}
