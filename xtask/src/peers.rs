//! `cargo xtask peers`: the hostile tree under other people's tools and under ours, as
//! docs/peers.md.

use anyhow::Result;
use xshell::cmd;

use crate::shell;

/// The hostile tree under other people's tools and under ours. Writes docs/peers.md, and takes root
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Trials of those for whom there is something to time
    #[arg(long, value_name = "N", default_value_t = 25)]
    rounds: u32,
}

impl Args {
    pub(crate) fn run(&self) -> Result<()> {
        let rounds = self.rounds.to_string();
        let page = shell::root().join("docs/peers.md");
        let shell = shell::shell()?;
        shell::run(cmd!(
            shell,
            "cargo bench -p workspace-tests --bench tree_peers -- --rounds {rounds} --page {page}"
        ))
    }
}
