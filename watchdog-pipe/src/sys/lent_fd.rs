//! A descriptor that a signal handler may borrow while its owner may want to close it.

use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// A place for a descriptor. Its one owner puts it in and takes it out. Anybody may borrow it
/// meanwhile, without a lock: a signal handler may have interrupted whoever would hold one.
///
/// A number that was closed may be another file's the next moment. So who borrows leaves a mark
/// first, and nobody closes a number that has one.
#[derive(Debug)]
pub(crate) struct LentFd(AtomicU64);

/// The number of the descriptor.
const NUMBER: u64 = u32::MAX as u64;
/// There is one.
const HELD: u64 = 1 << 32;
/// Somebody has borrowed it to the end.
const BORROWED: u64 = 1 << 33;
/// How many are at it, in this unit.
const BORROWER: u64 = 1 << 34;

impl LentFd {
    pub(crate) const fn empty() -> LentFd {
        LentFd(AtomicU64::new(0))
    }

    /// The owner alone: puts a descriptor into an empty place.
    pub(crate) fn lend(&self, fd: OwnedFd) {
        // A number is never negative.
        let number = u64::from(fd.into_raw_fd().unsigned_abs());
        // Release, for the Acquire in `borrow_once`.
        self.0.store(HELD | number, Ordering::Release);
    }

    /// The owner alone. `None` when the place is empty.
    pub(crate) fn borrow<T>(&self, look: impl FnOnce(BorrowedFd<'_>) -> T) -> Option<T> {
        let state = self.0.load(Ordering::Acquire);
        (state & HELD != 0).then(|| {
            // SAFETY: open as long as `HELD` is set, which the owner alone unsets, and it is here.
            look(unsafe { BorrowedFd::borrow_raw(number(state)) })
        })
    }

    /// Anybody, at any time, unless somebody has done so before. Async-signal-safe if `look` is.
    pub(crate) fn borrow_once(&self, look: impl FnOnce(BorrowedFd<'_>)) {
        let may = |state: u64| (state & (HELD | BORROWED) == HELD).then(|| state + BORROWER);
        let entered = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, may);
        if let Ok(state) = entered {
            // SAFETY: open, as `HELD` was set in one step with the mark, and whoever would close
            // the number or give it away sees the mark: `close` and `take_unborrowed`.
            look(unsafe { BorrowedFd::borrow_raw(number(state)) });
            self.0.fetch_or(BORROWED, Ordering::AcqRel);
            self.0.fetch_sub(BORROWER, Ordering::AcqRel);
        }
    }

    /// The owner alone: the descriptor, if nobody has ever borrowed it, nor is at it.
    pub(crate) fn take_unborrowed(&self) -> Option<OwnedFd> {
        let state = self.0.load(Ordering::Acquire);
        let untouched = state & !NUMBER == HELD;
        let taken = untouched
            && self
                .0
                .compare_exchange(state, 0, Ordering::AcqRel, Ordering::Acquire)
                .is_ok();
        // SAFETY: from `lend`, and out of everybody's reach since the exchange.
        taken.then(|| unsafe { OwnedFd::from_raw_fd(number(state)) })
    }

    /// The owner alone: closes the descriptor if there is one, and says whether the place may be
    /// used again. Where somebody is at it, both are left as they are.
    pub(crate) fn close(&self) -> bool {
        let state = self.0.fetch_and(!HELD, Ordering::AcqRel);
        let is_free = state < BORROWER;
        if is_free && state & HELD != 0 {
            // SAFETY: from `lend`. Nobody was at it, and nobody comes since `HELD` is gone.
            drop(unsafe { OwnedFd::from_raw_fd(number(state)) });
        }
        is_free
    }
}

/// Not changed by being kept: `lend` took it from a descriptor.
#[allow(clippy::cast_possible_truncation, reason = "the mask leaves 32 bits")]
fn number(state: u64) -> RawFd {
    ((state & NUMBER) as u32).cast_signed()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    fn null() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    fn is_open(number: RawFd) -> bool {
        crate::sys::inspect(number).is_ok()
    }

    #[test]
    fn what_is_lent_is_borrowed_once_and_then_not_given_away() {
        let place = LentFd::empty();
        place.borrow_once(|_| panic!("an empty place"));
        assert!(place.take_unborrowed().is_none());
        place.lend(null());
        let fd = place.take_unborrowed().unwrap();
        let number = fd.as_raw_fd();
        place.borrow_once(|_| panic!("an empty place again"));
        place.lend(fd);
        let mut seen = None;
        place.borrow_once(|fd| seen = Some(fd.as_raw_fd()));
        assert_eq!(seen, Some(number));
        place.borrow_once(|_| panic!("a second time"));
        assert!(place.take_unborrowed().is_none());
        assert_eq!(place.borrow(|fd| fd.as_raw_fd()), Some(number));
        assert!(place.close());
        assert!(place.borrow(|fd| fd.as_raw_fd()).is_none());
    }

    #[test]
    fn what_somebody_is_at_is_neither_closed_nor_given_away() {
        let place = LentFd::empty();
        place.lend(null());
        place.borrow_once(|fd| {
            let number = fd.as_raw_fd();
            assert!(place.take_unborrowed().is_none());
            assert!(!place.close());
            assert!(is_open(number));
            // SAFETY: it was left open, and is owned by nobody any more.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        });
        assert!(place.borrow(|fd| fd.as_raw_fd()).is_none());
    }
}
