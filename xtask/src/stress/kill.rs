//! `cargo xtask stress kill`: runtimes killed at random instants, and what is left of each.

use std::ffi::OsString;

use anyhow::Result;

use super::program;

/// Kill runtimes at random instants, and look at what is left of each
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// The program's own, such as --count and --seed: --help has them
    #[arg(
        value_name = "ARGS",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    args: Vec<OsString>,
}

impl Args {
    pub(crate) fn run(&self) -> Result<()> {
        let programs = ["kill_storm", "shim_box", "shim_under_test"];
        program::run(programs, &self.args)
    }
}
