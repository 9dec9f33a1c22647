//! `cargo xtask stress rounds`: the tests many times in a row on a loaded machine.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::test::Selection;

const BUSY_LOOPS: usize = 2;

/// The tests many times in a row while two busy loops load the cores
///
/// Stops at the first failure and says how many rounds passed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many times
    #[arg(default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[command(flatten)]
    tests: Selection,
}

impl Args {
    pub(crate) fn run(&self) -> Result<()> {
        // Built before the load, which is there for the tests and not for the compiler.
        self.tests.build()?;
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..BUSY_LOOPS {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            let outcome = self.repeat();
            done.store(true, Ordering::Relaxed);
            outcome
        })
    }

    fn repeat(&self) -> Result<()> {
        let (rounds, started) = (self.rounds, Instant::now());
        for round in 1..=rounds {
            eprintln!("stress: round {round} of {rounds}");
            self.tests.run_units().with_context(|| {
                format!(
                    "stress: round {round} FAILED after {} that passed ({:.0?})",
                    round - 1,
                    started.elapsed()
                )
            })?;
        }
        eprintln!(
            "stress: {rounds} of {rounds} rounds passed ({:.0?})",
            started.elapsed()
        );
        Ok(())
    }
}
