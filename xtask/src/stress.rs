//! `cargo xtask stress`: what takes longer than a test may, one module a kind.

mod rounds;

use anyhow::Result;

/// What takes longer than a test may
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, clap::Subcommand)]
enum Kind {
    Rounds(rounds::Args),
}

impl Args {
    pub(crate) fn run(&self) -> Result<()> {
        match &self.kind {
            Kind::Rounds(args) => args.run(),
        }
    }
}
