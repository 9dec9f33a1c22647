//! `cargo xtask loom`: every order in which threads can meet in the watcher's registry, and in a
//! slot of the sentinel.

use anyhow::Result;
use xshell::cmd;

use crate::shell;

/// Every order in which threads can meet in the watcher's registry and in a slot of the sentinel
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Those with one of these in their names
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
}

impl Args {
    /// Optimised, since loom runs each test many thousand times; in a folder of its own, since the
    /// flag changes every crate and would have the usual build made anew.
    pub(crate) fn run(&self) -> Result<()> {
        let filters = &self.filters;
        let shell = shell::shell()?;
        let tests = cmd!(
            shell,
            "cargo test -p pidfd-watcher -p watchdog-pipe --lib --release --target-dir target/loom
             -- loom"
        );
        shell::run(tests.args(filters).env("RUSTFLAGS", "--cfg loom"))
    }
}
