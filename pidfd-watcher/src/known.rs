//! A status once learned.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::status::Status;

/// A status that is set once and read by all clones of a handle. One word and no lock: a lock held
/// by another thread at a fork would stay locked in the child for ever.
#[derive(Debug, Default)]
pub(crate) struct Known(AtomicU64);

const KNOWN: u64 = 1 << 32;
const OURS: u64 = 1 << 33;

impl Known {
    pub(crate) fn get(&self) -> Option<Status> {
        // Relaxed: the word is all there is, nothing else is published by it.
        let word = self.0.load(Ordering::Relaxed);
        // The low half is the status; the cast takes exactly that.
        #[allow(clippy::cast_possible_truncation)]
        let raw = (word as u32).cast_signed();
        (word & KNOWN != 0).then_some(Status {
            raw,
            ours: word & OURS != 0,
        })
    }

    pub(crate) fn set(&self, status: Status) {
        let ours = if status.ours { OURS } else { 0 };
        let word = KNOWN | ours | u64::from(status.raw.cast_unsigned());
        let first = self
            .0
            .compare_exchange(0, word, Ordering::Relaxed, Ordering::Relaxed);
        if first.is_err() {
            // The first answer stays. "Ours" is added, and never taken back: of two clones asking at
            // once, one may come after the reaping and learn the status as a stranger would.
            self.0.fetch_or(ours, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_known_until_it_is_set() {
        let known = Known::default();
        assert_eq!(known.get(), None);
        known.set(Status {
            raw: 0,
            ours: false,
        });
        assert_eq!(
            known.get(),
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
                let known = Known::default();
                known.set(Status { raw, ours });
                assert_eq!(known.get(), Some(Status { raw, ours }));
            }
        }
    }

    #[test]
    fn a_status_that_was_ours_stays_ours() {
        let known = Known::default();
        known.set(Status {
            raw: 0x700,
            ours: true,
        });
        known.set(Status {
            raw: 0x700,
            ours: false,
        });
        assert_eq!(
            known.get(),
            Some(Status {
                raw: 0x700,
                ours: true
            })
        );
    }
}
