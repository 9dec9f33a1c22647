//! The soak's command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::orders::Leak;

/// A runtime that works without end, watched for growth
///
/// The process that starts the helpers (the runtime) spawns, watches, cancels, stops, releases,
/// adopts and supervises, round by round. It works at most for the given share of the time.
/// Between rounds nothing is going on, and descriptors, threads and memory of the runtime, of a
/// shim and of a watchdog-shim that live from the start to the end are read in /proc.
///
/// The first fifth of the time is the warm-up, and counts for nothing. The rest is put into forty
/// blocks. The slope is the median of the slopes between the medians of any two blocks (Theil and
/// Sen), and its confidence interval of 95 % comes from their ranks. The exit status is 1 if a
/// quantity grows: if the whole interval says so, and by more than one descriptor, one thread, one
/// process, one page of memory, one KiB of the heap, or a tenth of the latency over the whole run.
#[derive(Clone, Debug, Parser)]
#[command(name = "soak", max_term_width = 100)]
pub(super) struct Options {
    /// How long it takes
    #[arg(long, value_name = "N", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// How long it takes, in place of the minutes
    #[arg(long, value_name = "N", hide = true)]
    seconds: Option<u64>,
    /// The time between two samples, in seconds
    #[arg(long, value_name = "N", default_value_t = 5)]
    every: u64,
    /// The share of the time in which the runtime works, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 25)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100))]
    share: u32,
    /// The order of the work; another one in each run unless given
    #[arg(long)]
    seed: Option<u64>,
    /// Where the samples go, a line each
    #[arg(long, value_name = "PATH", default_value = "target/soak.csv")]
    pub(super) csv: PathBuf,
    /// What the runtime is to lose in each round, for a test of this program
    #[arg(long, value_enum, hide = true)]
    pub(super) leak: Option<Leak>,
}

impl Options {
    pub(super) fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(self.minutes * 60))
    }

    pub(super) fn every(&self) -> Duration {
        Duration::from_secs(self.every)
    }

    /// How long the runtime rests after it has worked for so long.
    pub(super) fn rest(&self, work: Duration) -> Duration {
        let share = f64::from(self.share) / 100.0;
        work.mul_f64((1.0 - share) / share)
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(|| fastrand::u64(..))
    }
}
