//! `cargo xtask stress`: what takes longer than a test may, one module a kind.

mod faults;
mod kill;
mod program;
mod rounds;
mod soak;

use anyhow::Result;

/// What takes longer than a test may
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, clap::Subcommand)]
enum Kind {
    Faults(faults::Args),
    Kill(kill::Args),
    Rounds(rounds::Args),
    Soak(soak::Args),
}

impl Args {
    pub(crate) fn run(&self) -> Result<()> {
        match &self.kind {
            Kind::Faults(args) => args.run(),
            Kind::Kill(args) => args.run(),
            Kind::Rounds(args) => args.run(),
            Kind::Soak(args) => args.run(),
        }
    }
}
