//! A status once learned.

#[cfg(loom)]
use ::loom::sync::atomic::AtomicU64;
#[cfg(not(loom))]
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::status::Status;
use crate::sys::ForkGeneration;

/// A status that is set once, and read by all clones of a handle. One word and no lock: a lock held
/// by another thread at a fork would stay locked in the child for ever.
///
/// The low half is the status. Above it, [`KNOWN`], and the stamp of the process whose child it
/// was: in a copy made by fork it is nobody's. No stamp: a stranger's status.
#[derive(Debug, Default)]
pub(crate) struct CachedStatus(AtomicU64);

const KNOWN: u64 = 1 << 32;
const STAMP: u32 = 33;

impl CachedStatus {
    pub(crate) fn get(&self) -> Option<Status> {
        // Relaxed: the word is all there is, nothing else is published by it.
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
        // The first answer stays. Both at once: a clone that saw the status without the stamp would
        // take the child for a stranger's, and answer so to who reaps after another clone.
        let _ = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |word| {
                let answer = if word & KNOWN == 0 { fresh } else { 0 };
                Some(word | answer | stamp)
            });
    }

    /// It is a child of this process, however it may end. Never taken back: of two clones that ask
    /// at once one may come after the reaping, and learn the status as a stranger would. No other
    /// stamp can stand there: a process has one parent that can wait for it, and its copies are
    /// none.
    pub(crate) fn set_ours(&self) {
        self.0.fetch_or(stamp_of_here() << STAMP, Ordering::Relaxed);
    }
}

/// Zero where the kernel gives no page for it: then a status is known, and not that it was ours.
fn stamp_of_here() -> u64 {
    ForkGeneration::current().map_or(0, |here| here.number << STAMP >> STAMP)
}

#[cfg(all(test, loom))]
mod loom;

// Loom's word exists only in a model.
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
        // As a copy made by fork finds it.
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
