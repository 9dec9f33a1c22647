//! A status, once it was learned.

#[cfg(loom)]
use ::loom::sync::atomic::AtomicU64;
#[cfg(not(loom))]
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::status::Status;
use crate::sys::ForkGeneration;

/// A status that is set once, and that all clones of a handle read. It is one word and no lock: if
/// another thread held a lock at a fork, the lock would stay locked in the child for ever.
///
/// The low half is the status. Above it are [`KNOWN`] and the stamp of the process whose child it
/// was. A copy made by fork has another stamp, and no child. No stamp: it was never a child of
/// ours.
#[derive(Debug, Default)]
pub(crate) struct CachedStatus(AtomicU64);

const KNOWN: u64 = 1 << 32;
const STAMP: u32 = 33;

impl CachedStatus {
    pub(crate) fn get(&self) -> Option<Status> {
        // Relaxed: this word is the only shared data; nothing else is published by it.
        let word = self.0.load(Ordering::Relaxed);
        // The low half is the status; the cast takes exactly that.
        #[allow(clippy::cast_possible_truncation)]
        let raw = (word as u32).cast_signed();
        let stamp = word >> STAMP;
        (word & KNOWN != 0).then(|| Status {
            raw,
            ours: stamp != 0 && stamp == stamp_of_here(),
        })
    }

    pub(crate) fn set(&self, status: Status) {
        let fresh = KNOWN | u64::from(status.raw.cast_unsigned());
        let stamp = if status.ours {
            stamp_of_here() << STAMP
        } else {
            0
        };
        // The first answer stays. Status and stamp are set together: a clone that saw the status
        // without the stamp would think that the child was not ours, and would say so to a caller
        // that reaps after another clone.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
                let answer = if word & KNOWN == 0 { fresh } else { 0 };
                Some(word | answer | stamp)
            });
    }

    /// Records that it is a child of this process, however it ends. This is never undone: of two
    /// clones that ask at once, one may come after the reap, and learn the status as for a process
    /// that is not ours. There can be no other stamp: only one process is the parent that can wait
    /// for it, and the parent's forked copies are not.
    pub(crate) fn set_ours(&self) {
        self.0.fetch_or(stamp_of_here() << STAMP, Ordering::Relaxed);
    }
}

/// Zero if the kernel provides no page for it. Then the status is known, but not that the child was
/// ours.
fn stamp_of_here() -> u64 {
    ForkGeneration::current().map_or(0, |here| here.number << STAMP >> STAMP)
}

#[cfg(all(test, loom))]
mod loom;

// Loom's atomics work only in a model.
#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_known_until_it_is_set() {
        let cached = CachedStatus::default();
        assert_eq!(cached.get(), None);
        cached.set(Status {
            raw: 0,
            ours: false,
        });
        assert_eq!(
            cached.get(),
            Some(Status {
                raw: 0,
                ours: false
            })
        );
    }

    #[test]
    fn every_status_comes_back_as_it_was_set() {
        for raw in [0, 9, 0x86, 0x100, 0xff00, i32::MAX, i32::MIN, -1] {
            for ours in [false, true] {
                let cached = CachedStatus::default();
                cached.set(Status { raw, ours });
                assert_eq!(cached.get(), Some(Status { raw, ours }));
            }
        }
    }

    #[test]
    fn a_status_that_was_ours_stays_ours() {
        let cached = CachedStatus::default();
        cached.set(Status {
            raw: 0x700,
            ours: true,
        });
        cached.set(Status {
            raw: 0x700,
            ours: false,
        });
        assert_eq!(
            cached.get(),
            Some(Status {
                raw: 0x700,
                ours: true
            })
        );
    }

    #[test]
    fn the_first_answer_stays() {
        for ours in [false, true] {
            let cached = CachedStatus::default();
            cached.set(Status {
                raw: 0x900,
                ours: false,
            });
            cached.set(Status { raw: 0x600, ours });
            assert_eq!(cached.get(), Some(Status { raw: 0x900, ours }));
        }
    }

    #[test]
    fn a_status_that_was_another_process_s_is_not_ours() {
        let cached = CachedStatus::default();
        cached.set(Status { raw: 0, ours: true });
        // As a copy made by fork sees it.
        cached.0.fetch_add(1 << STAMP, Ordering::Relaxed);
        assert_eq!(
            cached.get(),
            Some(Status {
                raw: 0,
                ours: false
            })
        );
    }

    #[test]
    fn a_child_of_ours_is_so_before_its_status_is_known() {
        let cached = CachedStatus::default();
        cached.set_ours();
        assert_eq!(cached.get(), None);
        cached.set(Status {
            raw: 9,
            ours: false,
        });
        assert_eq!(cached.get(), Some(Status { raw: 9, ours: true }));
    }
}
