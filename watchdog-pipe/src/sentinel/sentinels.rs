//! The sentinels of this process, and which of their slots are free.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::sys::SLOTS;
use super::thread::Sentinel;
use crate::sys::{ForkGeneration, Published};

/// While there are fresh ones, so many slots lie idle before one is used again: its last child has
/// had time to look away.
const IDLE: usize = 64;

/// The sentinels of this process, and not of one that it was forked from.
#[derive(Debug)]
pub(super) struct Sentinels {
    pub(super) generation: ForkGeneration,
    /// The head of a list of all that were ever started, which a signal handler reads.
    newest: Published<Sentinel>,
    state: Mutex<State>,
}

static LATEST: Published<Sentinels> = Published::empty();

/// Tells the children of this process's links that it dies, and wakes them. Async-signal-safe: no
/// lock is taken.
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
    /// The last one gives slots that were never used.
    running: Vec<&'static Sentinel>,
    /// How many of its slots were.
    used: usize,
    /// First in, first out.
    pub(super) idle: VecDeque<(&'static Sentinel, usize)>,
    /// This kernel, or a filter, refuses what a sentinel needs: not asked again.
    refused: bool,
}

impl Sentinels {
    /// Asked before the lock is taken: a copy made by fork has nobody who would ever open it.
    pub(super) fn of(generation: ForkGeneration) -> &'static Sentinels {
        match LATEST.latest() {
            Some(sentinels) if sentinels.generation.number == generation.number => sentinels,
            // None yet, or those of the process that this one was forked from.
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
        // Nothing in here panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread that can sleep in no way any more ends here, before the process does: its links
    /// have the pipe alone from now on, and so has every later one.
    fn over(&'static self, thread: u32) {
        // A word is given to the thread under this lock alone. Where a filter refuses futex(2), it
        // is a lock that spins, for as long as a link takes to be made.
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

    /// A slot that was never used; a sentinel more only when none at all is left.
    fn fresh(&mut self, sentinels: &'static Sentinels) -> Option<(&'static Sentinel, usize)> {
        if (self.running.is_empty() || self.used == SLOTS) && self.idle.is_empty() && !self.refused
        {
            let before = sentinels.newest.latest();
            match Sentinel::start(before, sentinels, Sentinels::over) {
                Ok(sentinel) => {
                    // The lock is held here, and nobody else replaces it.
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

/// What runs out can be there again at the next link.
fn may_pass(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN)
    )
}
