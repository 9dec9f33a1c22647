//! Clones of a handle reap one after the other.
//!
//! Between the reaping of a child and the note of its status nobody knows how it ended: the kernel
//! tells it no more, and before Linux 5.17 no look at the zombie has told it before. A clone that
//! finds the child reaped must find the note as well.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::sys::ForkGeneration;

#[derive(Debug)]
pub(crate) struct Turn {
    lock: Mutex<()>,
    generation: Option<ForkGeneration>,
}

impl Turn {
    pub(crate) fn new() -> Turn {
        Turn {
            lock: Mutex::new(()),
            generation: ForkGeneration::current().ok(),
        }
    }

    /// Held from the reaping until its status is noted: for as long as one system call that does
    /// not block.
    ///
    /// `None` in a copy made by fork, which has no child to reap here, and in which a lock that was
    /// held at the fork stays held for ever. `None` too where the kernel gives no page that tells
    /// copies apart.
    pub(crate) fn take(&self) -> Option<MutexGuard<'_, ()>> {
        let here = self.generation.is_some_and(ForkGeneration::is_current);
        here.then(|| self.lock.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_made_by_fork_waits_for_no_turn_that_was_taken_before() {
        let turn = Turn::new();
        let taken = turn.take();
        assert!(taken.is_some());
        std::mem::forget(taken);
        let mut copy = turn;
        if let Some(generation) = &mut copy.generation {
            generation.number += 1 << 40;
        }
        assert!(copy.take().is_none());
    }
}
