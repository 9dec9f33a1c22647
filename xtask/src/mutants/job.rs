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
use super::programs::{self, Programs, RECORD};
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

/// What all jobs have in common.
#[derive(Debug)]
pub(crate) struct Common<'a> {
    /// Where the jobs keep what is theirs.
    pub(crate) folder: &'a Path,
    pub(crate) programs: &'a [Program],
    /// Where the programs were built.
    pub(crate) built: &'a Path,
    /// Where the programs look for the record of what is reached, and how long it is.
    pub(crate) map: &'a Path,
    pub(crate) length: usize,
    pub(crate) interrupt: &'a Interrupt,
}

impl Common<'_> {
    pub(crate) fn jobs(&self, count: usize) -> Result<Vec<Job>> {
        let numbers = programs::numbers(self.programs)?;
        let job = |number| self.job(number, &numbers);
        (0..count.max(1)).map(job).collect()
    }

    fn job(&self, number: usize, numbers: &[Option<u64>]) -> Result<Job> {
        let own = self.folder.join(format!("programs-{number}"));
        let map = self.folder.join(format!("map-{number}"));
        fs::write(&map, vec![0; self.length])?;
        let programs = Programs::copy(self.programs, numbers, self.built, &own)?;
        let own_programs = (own, self.built.to_owned());
        let own_map = (map.clone(), self.map.to_owned());
        Ok(Job {
            programs,
            map,
            length: self.length,
            sandbox: Sandbox::new(number, own_programs, own_map)?,
            interrupt: self.interrupt.clone(),
        })
    }
}

impl Job {
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
