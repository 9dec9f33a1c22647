//! A run: the tests on some kernels, two machines at a time.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::kernel::Kernel;
use super::machine::Machine;
use super::result::Results;
use crate::long::{Interrupt, Progress};

/// Each has two processors.
const MACHINES: usize = 2;

/// A kernel with all that its machine needs.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) kernel: Kernel,
    pub(super) image: PathBuf,
    pub(super) initrd: PathBuf,
    pub(super) disks: [PathBuf; 2],
    pub(super) console: PathBuf,
    /// How many programs its job runs.
    pub(super) programs: usize,
}

/// The results in the order of the kernels.
pub(super) fn all(
    kernels: &[Prepared],
    limit: Duration,
    interrupt: &Interrupt,
) -> Result<Vec<Results>> {
    let programs = kernels.iter().map(|kernel| kernel.programs).sum();
    let progress = Mutex::new(Progress::new("programs full of tests", programs));
    let waiting = Mutex::new(kernels.iter().enumerate().collect::<VecDeque<_>>());
    let outcomes = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..MACHINES.min(kernels.len()) {
            scope.spawn(|| {
                loop {
                    // Not held while a machine runs.
                    let next = locked(&waiting).pop_front();
                    let Some((index, kernel)) = next else { return };
                    let outcome = kernel.run(limit, interrupt, &progress);
                    locked(&outcomes).push((index, outcome));
                }
            });
        }
    });
    let mut outcomes = outcomes
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|(index, _)| *index);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

impl Prepared {
    fn run(
        &self,
        limit: Duration,
        interrupt: &Interrupt,
        progress: &Mutex<Progress>,
    ) -> Result<Results> {
        interrupt.check()?;
        let machine = Machine {
            arch: self.kernel.arch,
            kernel: &self.image,
            initrd: &self.initrd,
            disks: [&self.disks[0], &self.disks[1]],
            console: &self.console,
            limit,
        };
        machine.run(interrupt, |_| locked(progress).step())
    }
}

/// A panic elsewhere has left what is in there whole.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
