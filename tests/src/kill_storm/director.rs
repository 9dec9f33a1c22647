//! Starts the workers, hears of every case, and says what became of all.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use rustix::pipe::{PipeFlags, pipe_with};

use super::case::Kind;
use super::line::Line;
use super::options::Options;
use super::tally::Tally;
use super::worker::{self, Share};
use crate::fd_table::fixture;
use crate::interrupt::{INTERRUPTED, Interrupt};
use crate::play::can;
use crate::progress::Progress;

pub(super) fn direct(options: &Options) -> Result<ExitCode> {
    let interrupt = Interrupt::new();
    let seed = options.seed();
    let kinds = kinds()?;
    let again = format!("--seed {seed} --first {}", options.first);
    eprintln!("kill_storm: {} runtimes, {again}", options.count);
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).context("a pipe")?;
    let results = File::from(write);
    // This process has one thread, so that its copies may go on as any process.
    let workers: Vec<_> = (0..options.at_once)
        .map(|worker| {
            let all = options.first..options.first + options.count;
            let numbers = all.skip(worker as usize).step_by(options.at_once as usize);
            let share = Share {
                seed,
                kinds: kinds.clone(),
                numbers: numbers.collect(),
                patience: options.patience(),
                loss: options.loss,
            };
            worker::start(&share, &results)
        })
        .collect();
    drop(results);
    let mut tally = Tally::new(&kinds);
    let heard = hear(File::from(read), &mut tally, options, &interrupt);
    println!("kill_storm: {} killed, {again}\n{tally}", tally.kills());
    match heard? {
        Heard::All => {}
        // The workers and all that they have started are gone with the values.
        Heard::Interrupt => {
            eprintln!("kill_storm: interrupted");
            return Ok(ExitCode::from(INTERRUPTED));
        }
        Heard::Failure(number) => {
            bail!("case {number} has failed; again: --seed {seed} --first {number} --count 1")
        }
    }
    for worker in workers {
        worker.succeeds();
    }
    println!("kill_storm: nothing is left that should not be, and nothing is missing");
    Ok(ExitCode::SUCCESS)
}

enum Heard {
    All,
    Interrupt,
    Failure(u64),
}

fn hear(
    results: File,
    tally: &mut Tally,
    options: &Options,
    interrupt: &Interrupt,
) -> Result<Heard> {
    let mut progress = Progress::new("runtimes killed", options.count as usize);
    for line in BufReader::new(results).lines() {
        let line = serde_json::from_str(&line.context("the workers' pipe")?)?;
        if let Line::Failed { number } = line {
            return Ok(Heard::Failure(number));
        }
        tally.add(&line);
        progress.step();
        if interrupt.is_set() {
            return Ok(Heard::Interrupt);
        }
    }
    if tally.kills() < options.count {
        bail!("a worker has ended before its last case");
    }
    Ok(Heard::All)
}

/// Those that this machine can do; the others are named.
fn kinds() -> Result<Vec<Kind>> {
    let shim = fixture("shim_under_test");
    let shim = shim.to_str().context("a plain path")?;
    let possible = |kind: &Kind| match kind {
        Kind::Supervise(containment) => can(shim, containment.word()),
        _ => true,
    };
    Ok(Kind::ALL.into_iter().filter(possible).collect())
}
