//! What works on its own: a sandbox with its own copies of the programs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::cargo::Program;
use super::programs::{Programs, RECORD};
use super::sandbox::{Ended, Sandbox};
use super::tests::Test;
use crate::long::Interrupt;

#[derive(Debug)]
pub(crate) struct Job {
    programs: Programs,
    map: PathBuf,
    length: usize,
    sandbox: Sandbox,
    interrupt: Interrupt,
}

impl Job {
    /// `built` is where the programs were built, `map` where they look for the record.
    pub(crate) fn new(
        number: usize,
        folder: &Path,
        programs: &[Program],
        built: &Path,
        map: &Path,
        length: usize,
        interrupt: &Interrupt,
    ) -> Result<Job> {
        let own = folder.join(format!("programs-{number}"));
        let own_map = folder.join(format!("map-{number}"));
        fs::write(&own_map, vec![0; length])?;
        Ok(Job {
            programs: Programs::copy(programs, built, &own)?,
            sandbox: Sandbox::new(
                number,
                (own, built.to_owned()),
                (own_map.clone(), map.to_owned()),
            )?,
            map: own_map,
            length,
            interrupt: interrupt.clone(),
        })
    }

    /// Runs the test with that mutant on; 0 is none.
    pub(crate) fn run(
        &mut self,
        mutant: u32,
        test: &Test,
        limit: Duration,
    ) -> Result<(Ended, Duration)> {
        self.programs.turn_on(mutant)?;
        self.sandbox.run(test, limit, &self.interrupt)
    }

    /// Runs the test without a mutant, and says which points it reached.
    pub(crate) fn record(
        &mut self,
        test: &Test,
        limit: Duration,
    ) -> Result<(Ended, Duration, Vec<u32>)> {
        // Everybody may write: a test may run programs as another user.
        let map = File::options().write(true).open(&self.map)?;
        map.set_len(0)?;
        map.set_len(u64::try_from(self.length)?)?;
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        map.set_permissions(everybody)?;
        let (ended, took) = self.run(RECORD, test, limit)?;
        let map = fs::read(&self.map).context("read the record")?;
        let reached = (0_u32..).zip(map);
        let reached = reached.filter(|&(_, byte)| byte != 0);
        Ok((ended, took, reached.map(|(number, _)| number).collect()))
    }
}

/// Has the jobs work on the items, each on the next one. The first that fails stops all.
pub(crate) fn share<T: Send>(
    jobs: &mut [Job],
    items: impl Iterator<Item = T> + Send,
    work: impl Fn(&mut Job, T) -> Result<()> + Sync,
) -> Result<()> {
    let items = Mutex::new(items.fuse());
    let failed = AtomicBool::new(false);
    let next = || {
        let mut items = items.lock().ok()?;
        if failed.load(Relaxed) {
            None
        } else {
            items.next()
        }
    };
    thread::scope(|scope| {
        let (next, work, failed) = (&next, &work, &failed);
        let workers: Vec<_> = jobs
            .iter_mut()
            .map(|job| {
                scope.spawn(move || {
                    while let Some(item) = next() {
                        let done = work(job, item);
                        failed.fetch_or(done.is_err(), Relaxed);
                        done?;
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        for worker in workers {
            let done = worker.join();
            done.unwrap_or_else(|_| bail!("a job panicked"))?;
        }
        Ok(())
    })
}
