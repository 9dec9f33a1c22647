//! Lets the runtime work and rest, looks at it between, and judges.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context, Result, bail};

use super::latencies::Latencies;
use super::options::Options;
use super::probe::Probe;
use super::quantity::Quantity;
use super::table::{Sample, Table};
use super::wire::{Ask, Told, say};
use crate::fd_table::fixture;
use crate::interrupt::{INTERRUPTED, Interrupt};
use crate::orders::Order;
use crate::progress::Progress;
use crate::{Folder, Guard, time_limit, until};

/// So few samples say nothing: on a machine that is too busy, a run of seconds takes longer.
const LEAST: usize = 8;

pub(super) fn direct(options: &Options) -> Result<ExitCode> {
    let interrupt = Interrupt::new();
    let folder = Folder::new();
    let seed = options.seed();
    eprintln!("soak: seed {seed}, samples in {}", options.csv.display());
    let mut soak = Soak::start(seed, &folder, options)?;
    let worked = soak.work(options, &interrupt);
    let table = Table::of(&soak.samples);
    let rounds = soak.rounds;
    // Whatever went wrong, what was seen until then is told.
    println!("soak: {rounds} rounds, seed {seed}\n{table}");
    for why in &soak.skipped {
        println!("skipped: {why}");
    }
    worked?;
    soak.end()?;
    if interrupt.is_set() {
        eprintln!("soak: interrupted");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    let growing = table.growing();
    if growing.is_empty() {
        println!("soak: nothing grows");
        return Ok(ExitCode::SUCCESS);
    }
    bail!("these grow: {}", growing.join(", "))
}

struct Soak {
    runtime: Guard,
    asks: ChildStdin,
    told: Receiver<Told>,
    probe: Probe,
    latencies: Latencies,
    heap: u64,
    samples: Vec<Sample>,
    csv: File,
    skipped: Vec<String>,
    rounds: u64,
    start: Instant,
}

impl Soak {
    fn start(seed: u64, folder: &Folder, options: &Options) -> Result<Soak> {
        let order = Order::Soak {
            seed,
            folder: folder.path().to_owned(),
            leak: options.leak,
        };
        let program = fixture("soak_runtime");
        let program = program.to_str().context("a plain path")?;
        let mut runtime = Guard::spawn(
            order
                .to(program)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped()),
        );
        let asks = runtime.stdin.take().context("a pipe")?;
        let stdout = runtime.stdout.take().context("a pipe")?;
        let told = listen(BufReader::new(stdout));
        let shim = loop {
            if let Told::Ready { shim } = hear(&told)? {
                break shim;
            }
        };
        let probe = Probe {
            runtime: runtime.id().cast_signed(),
            shim,
            watchdog_shim: fs::canonicalize(fixture("shim_under_test"))?,
        };
        Ok(Soak {
            runtime,
            asks,
            told,
            probe,
            latencies: Latencies::default(),
            heap: 0,
            samples: Vec::new(),
            csv: csv(options)?,
            skipped: Vec::new(),
            rounds: 0,
            start: Instant::now(),
        })
    }

    /// Until the time is over, or somebody wants it to end.
    fn work(&mut self, options: &Options, interrupt: &Interrupt) -> Result<()> {
        let duration = options.duration();
        let mut progress = Progress::new("soak, seconds", duration.as_secs() as usize);
        let mut next = options.every();
        let goes_on = |soak: &Soak| {
            let is_over = soak.start.elapsed() >= duration && soak.samples.len() >= LEAST;
            !is_over && !interrupt.is_set()
        };
        while goes_on(self) {
            let work = Instant::now();
            self.round()?;
            thread::sleep(options.rest(work.elapsed()));
            let elapsed = self.start.elapsed();
            progress.at(elapsed.as_secs());
            if elapsed >= next {
                self.sample(elapsed)?;
                next = elapsed + options.every();
            }
        }
        Ok(())
    }

    fn round(&mut self) -> Result<()> {
        say(&mut self.asks, &Ask::Round).context("the runtime listens")?;
        loop {
            match hear(&self.told)? {
                Told::Took { step, ns } => self.latencies.add(step, ns),
                Told::Skipped { why } => self.skipped.push(why),
                Told::Settled { heap } => {
                    self.heap = heap;
                    break;
                }
                Told::Ready { .. } => bail!("the runtime has begun anew"),
            }
        }
        self.rounds += 1;
        Ok(())
    }

    fn sample(&mut self, elapsed: Duration) -> Result<()> {
        let values = self.probe.sample(&mut self.latencies, self.heap);
        let at = elapsed.as_secs_f64();
        let columns: Vec<String> = values.iter().map(|value| format!("{value:.1}")).collect();
        writeln!(self.csv, "{at:.1},{}", columns.join(",")).context("write the samples")?;
        self.samples.push(Sample { at, values });
        Ok(())
    }

    /// The runtime stops what it has, and ends.
    fn end(mut self) -> Result<()> {
        drop(self.asks);
        let status = until("the runtime ends", || self.runtime.try_wait().transpose())?;
        if !status.success() {
            bail!("the runtime: {status}");
        }
        Ok(())
    }
}

/// What is told, from a thread, so that one can wait for it under a deadline.
fn listen(lines: impl BufRead + Send + 'static) -> Receiver<Told> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            let Ok(what) = serde_json::from_str(&line) else {
                break;
            };
            if tell.send(what).is_err() {
                break;
            }
        }
    });
    told
}

fn hear(told: &Receiver<Told>) -> Result<Told> {
    told.recv_timeout(time_limit())
        .context("the runtime has ended, or does not go on")
}

fn csv(options: &Options) -> Result<File> {
    let path = env::current_dir()?.join(&options.csv);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let file = File::create(&path);
    let mut file = file.with_context(|| format!("create {}", path.display()))?;
    let names: Vec<String> = Quantity::all().iter().map(|it| it.name()).collect();
    writeln!(file, "seconds,{}", names.join(","))?;
    Ok(file)
}
