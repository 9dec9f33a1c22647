//! Runtimes that are killed at random instants, thousands of them, and what is left of each: the
//! program `kill_storm`.

mod aftermath;
mod case;
mod director;
mod line;
mod loss;
mod options;
mod runtime;
mod successor;
mod survivors;
mod tally;
mod worker;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

/// The program `kill_storm`.
pub fn main() -> Result<ExitCode> {
    director::direct(&options::Options::parse())
}
