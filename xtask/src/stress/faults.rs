//! `cargo xtask stress faults`: each system call of an operation fails in each way that its manual
//! page names, one at a time.

mod matrix;
mod share;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use xshell::cmd;

use crate::long::{Interrupt, Progress};
use crate::shell;

use matrix::Matrix;
use share::{Line, Share};

/// The injector, of the package workspace-tests.
const PROGRAM: &str = "fault_cases";

/// How often an interrupt is looked for while no line comes.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How many bad ones are printed; the rest is in the file.
const PRINTED: usize = 40;

/// Every system call of spawn, watch, stop, adopt, the watchdog and watchdog-shim fails once in
/// every way that its manual page names
///
/// Prints a matrix of calls, errors and outcomes, and fails on an outcome that must not be, with
/// the line that repeats it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The cases whose names begin so: spawn-attached, or spawn-attached-clone3:0:openat:7:EMFILE
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// No more than this, of cases in no order
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
    /// So many cases at once; as many as there are processors unless said
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
}

impl Args {
    pub(crate) fn run(&self) -> Result<()> {
        let interrupt = Interrupt::catch()?;
        let program = build()?;
        let path = shell::target().join("faults.txt");
        let mut details = BufWriter::new(
            File::create(&path).with_context(|| format!("write {}", path.display()))?,
        );
        let jobs = self
            .jobs
            .or_else(|| Some(thread::available_parallelism().ok()?.get()));
        let jobs = jobs.unwrap_or(1).max(1);
        let (tell, told) = channel();
        let began = Instant::now();
        let mut shares = Vec::new();
        for number in 0..jobs {
            shares.push(Share::start(
                &program,
                &self.wish(number, jobs),
                tell.clone(),
            )?);
        }
        drop(tell);
        let mut matrix = Matrix::default();
        let mut planned = 0;
        let mut counted = 0;
        let mut progress: Option<Progress> = None;
        loop {
            match told.recv_timeout(LOOK_EVERY) {
                Ok(Line::Planned(count)) => {
                    planned += count;
                    counted += 1;
                    if counted == jobs {
                        progress = Some(Progress::new("faults", planned));
                    }
                }
                Ok(Line::Case(case)) => {
                    writeln!(details, "{case}").context("write the details")?;
                    matrix.add(case);
                    if let Some(progress) = &mut progress {
                        progress.step();
                    }
                }
                Err(RecvTimeoutError::Timeout) => interrupt.check()?,
                Err(RecvTimeoutError::Disconnected) => break,
            }
            interrupt.check()?;
        }
        drop(progress);
        for share in shares {
            share.ended_well(&interrupt)?;
        }
        details.flush().context("write the details")?;
        self.conclude(&matrix, planned, began.elapsed(), &path)
    }

    fn wish(&self, share: usize, shares: usize) -> String {
        let only = self
            .only
            .as_ref()
            .map_or("null".to_owned(), |only| format!("{only:?}"));
        let seconds = self
            .seconds
            .map_or("null".to_owned(), |seconds| seconds.to_string());
        let which = format!(r#""only":{only},"seconds":{seconds}"#);
        format!(r#"{{"InjectFaults":{{{which},"shares":{shares},"share":{share}}}}}"#)
    }

    fn conclude(
        &self,
        matrix: &Matrix,
        planned: usize,
        took: Duration,
        path: &std::path::Path,
    ) -> Result<()> {
        println!("{matrix}");
        let cases = matrix.cases();
        println!(
            "{cases} of {planned} cases in {took:.0?}; each is in {}",
            path.display()
        );
        let bad = matrix.bad();
        for case in bad.iter().take(PRINTED) {
            println!("bad: {}\n    {}", case.name, case.text);
            println!("    cargo xtask stress faults --only {}", case.name);
        }
        if !bad.is_empty() {
            bail!("{} faults did what must not be", bad.len());
        }
        let empty = matrix.empty();
        if self.only.is_none() && self.seconds.is_none() && !empty.is_empty() {
            bail!("no fault came for {}", empty.join(", "));
        }
        if cases == 0 {
            bail!("no case has a name that begins so");
        }
        Ok(())
    }
}

/// Compiles the injector, and says where it is.
fn build() -> Result<PathBuf> {
    let shell = shell::shell()?;
    shell::run(cmd!(
        shell,
        "cargo build -p workspace-tests --bin {PROGRAM}"
    ))?;
    let program = shell::target().join("debug").join(PROGRAM);
    fs::metadata(&program).with_context(|| format!("find {}", program.display()))?;
    Ok(program)
}
