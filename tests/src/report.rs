//! What the benches have measured, as a table, a page with plots, and beside the committed
//! baseline: the program `bench_report`.

mod check;
mod page;
mod plot;
mod run;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use crate::samples;
use run::Run;

/// Reports on the samples in target/samples. `cargo xtask bench` runs it.
#[derive(Debug, Parser)]
#[command(name = "bench_report")]
pub struct Options {
    /// The samples are of a run that has just ended, after so many seconds
    #[arg(long, value_name = "SECONDS")]
    measured: Option<u64>,
    /// It was one of few rounds
    #[arg(long, requires = "measured")]
    quick: bool,
    /// Print the table, and write docs/bench/report.md and its plots
    #[arg(long)]
    page: bool,
    /// Fail if a ratio is worse than docs/bench/baseline.json has it
    #[arg(long)]
    check: bool,
    /// Write docs/bench/baseline.json, unless a check has failed
    #[arg(long)]
    baseline: bool,
}

/// # Errors
/// There are no samples, or a file cannot be read or written.
pub fn main(options: &Options) -> Result<ExitCode> {
    let kept = samples::folder();
    if let Some(seconds) = options.measured {
        Run::here(options.quick, seconds).keep(&kept)?;
    }
    let (run, all) = run::load(&kept)?;
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/bench");
    fs::create_dir_all(&docs).context("make docs/bench")?;
    if options.page {
        print!("{}", page::table(&all));
        let plots = plot::all(&docs, &all).context("draw the plots")?;
        fs::write(docs.join("report.md"), page::page(&run, &all, &plots))
            .context("write report.md")?;
        println!("\nwritten: docs/bench/report.md and {} plots", plots.len());
    }
    let file = docs.join("baseline.json");
    if options.check {
        let verdict = check::against(&check::load(&file)?, &check::measured(&all));
        print!("{verdict}");
        if !verdict.passed() {
            return Ok(ExitCode::FAILURE);
        }
    }
    // After the comparison, or it would be one with itself.
    if options.baseline {
        check::save(&file, &check::measured(&all))?;
        println!("written: docs/bench/baseline.json");
    }
    Ok(ExitCode::SUCCESS)
}
