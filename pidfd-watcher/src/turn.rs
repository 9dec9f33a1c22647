//! Makes the clones of a handle reap one after the other.
//!
//! After a child was reaped, and before its status was recorded, nobody knows how it ended. The
//! kernel does not tell it any more, and before Linux 5.17 inspecting the zombie did not tell it
//! either. A clone that finds the child reaped must also find the recorded status.

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

    /// Held from the reap until the status is recorded: for one system call, which does not block.
    ///
    /// `None` in a copy made by fork. It has no child to reap, and a lock that was held at the fork
    /// stays locked there for ever. Also `None` if the kernel provides no page that tells copies
    /// apart.
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
