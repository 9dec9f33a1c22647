//! The sentinels of this process, and which of their slots are free.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::sys::SLOTS;
use super::thread::Sentinel;
use crate::sys::{ForkGeneration, Published};

/// As long as there are unused slots, this many slots stay idle before one is reused. So a slot's
/// last child has had time to stop looking at it.
const IDLE: usize = 64;

/// The sentinels of this process, and not those of the process that it was forked from.
#[derive(Debug)]
pub(super) struct Sentinels {
    pub(super) generation: ForkGeneration,
    /// The head of a list of all sentinels ever started. A signal handler reads it.
    newest: Published<Sentinel>,
    state: Mutex<State>,
}

static LATEST: Published<Sentinels> = Published::empty();

/// Marks the words of this process's links as if this process had died, and wakes the children.
/// Async-signal-safe: takes no lock.
pub(crate) fn announce() {
    let sentinels = LATEST.latest().filter(|all| all.generation.is_current());
    let mut next = sentinels.and_then(|all| all.newest.latest());
    while let Some(sentinel) = next {
        sentinel.announce();
        next = sentinel.before;
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// The last of these provides the slots that were never used.
    running: Vec<&'static Sentinel>,
    /// How many slots of the last one were used.
    used: usize,
    /// Slots to reuse: first in, first out.
    pub(super) idle: VecDeque<(&'static Sentinel, usize)>,
    /// This kernel or a filter refuses what a sentinel needs. Do not try again.
    refused: bool,
}

impl Sentinels {
    /// The generation is checked before any lock is taken: in a copy made by fork, a lock may be
    /// held for ever.
    pub(super) fn of(generation: ForkGeneration) -> &'static Sentinels {
        match LATEST.latest() {
            Some(sentinels) if sentinels.generation.number == generation.number => sentinels,
            // There are none yet, or they belong to the process that this one was forked from.
            other => LATEST.replace(
                other,
                Sentinels {
                    generation,
                    newest: Published::empty(),
                    state: Mutex::default(),
                },
            ),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A poisoned lock is still usable: nothing panics half-way while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Called when a sentinel's thread has no way to sleep any more and must end before the process
    /// does. From now on its links use the pipe alone, and so do all later ones.
    fn over(&'static self, thread: u32) {
        // Words are given to the thread only under this lock. If a filter refuses futex(2), the
        // lock spins for as long as it takes to make a link.
        let mut state = self.lock();
        state.refused = true;
        state.used = SLOTS;
        state.idle.retain(|(sentinel, _)| sentinel.thread != thread);
        let place = state.running.iter().position(|it| it.thread == thread);
        if let Some(place) = place {
            state.running.remove(place).end();
        }
    }
}

impl State {
    pub(super) fn slot(
        &mut self,
        sentinels: &'static Sentinels,
    ) -> Option<(&'static Sentinel, usize)> {
        if self.idle.len() < IDLE
            && let Some(fresh) = self.fresh(sentinels)
        {
            return Some(fresh);
        }
        self.idle.pop_front()
    }

    /// A slot that was never used. Starts another sentinel only when no slot is left at all.
    fn fresh(&mut self, sentinels: &'static Sentinels) -> Option<(&'static Sentinel, usize)> {
        if (self.running.is_empty() || self.used == SLOTS) && self.idle.is_empty() && !self.refused
        {
            let before = sentinels.newest.latest();
            match Sentinel::start(before, sentinels, Sentinels::over) {
                Ok(sentinel) => {
                    // Nobody else replaces it while this thread has the lock.
                    self.running
                        .push(sentinels.newest.replace(before, sentinel));
                    self.used = 0;
                }
                Err(error) => self.refused = !may_pass(&error),
            }
        }
        let sentinel = self.running.last()?;
        (self.used < SLOTS).then(|| {
            self.used += 1;
            (*sentinel, self.used - 1)
        })
    }
}

/// Whether the resource that ran out may be available again at the next link.
fn may_pass(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN)
    )
}
