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
    state: Mutex<State>,
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
        static LATEST: Published<Sentinels> = Published::empty();
        match LATEST.latest() {
            Some(sentinels) if sentinels.generation.number == generation.number => sentinels,
            // None yet, or those of the process that this one was forked from.
            other => LATEST.replace(
                other,
                Sentinels {
                    generation,
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
            match Sentinel::start(sentinels, Sentinels::over) {
                Ok(sentinel) => {
                    self.running.push(Box::leak(Box::new(sentinel)));
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
