//! The command line.

use std::time::Duration;

use clap::Parser;

use super::loss::Loss;
use crate::time_limit;

/// Runtimes killed at random instants: nothing of them is left that should not be
///
/// Each process that starts helpers (the runtime) spawns and stops, releases, adopts or supervises,
/// by each way of creating a child, with a sentinel and without, and with each containment of
/// watchdog-shim, until SIGKILL ends it. Then nobody may be left who was attached to it; whoever
/// was released or detached must live, must be found by its identity file, and must have no
/// descriptor that is not its own. Every identity file must be whole. What is killed and when
/// follows from the seed and from the number of the case.
#[derive(Clone, Debug, Parser)]
#[command(name = "kill_storm", max_term_width = 100)]
pub(super) struct Options {
    /// How many runtimes are killed
    #[arg(long, value_name = "N", default_value_t = 1000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) count: u64,
    /// Which cases; others in each run unless given
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// The number of the first case: a case that has failed says it
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) first: u64,
    /// So many at the same time: most of a case is waiting
    #[arg(long, value_name = "N", default_value_t = 6)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=64))]
    pub(super) at_once: u64,
    /// How long somebody may take to be gone who should be, in seconds
    #[arg(long, value_name = "N", default_value_t = time_limit().as_secs())]
    patience: u64,
    /// What the runtimes are to do wrong, for a test of this program
    #[arg(long, value_enum, hide = true)]
    pub(super) loss: Option<Loss>,
}

impl Options {
    pub(super) fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(|| fastrand::u64(..))
    }
}
