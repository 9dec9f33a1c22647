//! A runtime that spawns, watches, cancels, stops, releases, adopts and supervises without end, and
//! whether anything of it grows: the program `soak`.

mod act;
mod director;
mod heap;
mod latencies;
mod options;
mod probe;
mod quantity;
mod runtime;
mod spawns;
mod table;
mod trend;
mod wire;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

pub use runtime::{leave_shim, run};

/// The program `soak`.
pub fn main() -> Result<ExitCode> {
    director::direct(&options::Options::parse())
}
