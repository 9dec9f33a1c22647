//! A descriptor that a signal handler may borrow while its owner may be about to close it.

use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// A place for a descriptor. Its one owner puts the descriptor in and takes it out. Meanwhile
/// anybody may borrow it, without a lock: a signal handler may have interrupted the thread that
/// holds the lock.
///
/// A number that was closed may belong to another file the next moment. So a borrower leaves a mark
/// first, and the owner does not close a number that has one.
#[derive(Debug)]
pub(crate) struct LentFd(AtomicU64);

/// The number of the descriptor.
const NUMBER: u64 = u32::MAX as u64;
/// The place has a descriptor.
const HELD: u64 = 1 << 32;
/// A borrower has used it and is done.
const BORROWED: u64 = 1 << 33;
/// The number of borrowers that use it now, counted in this unit.
const BORROWER: u64 = 1 << 34;

impl LentFd {
    pub(crate) const fn empty() -> LentFd {
        LentFd(AtomicU64::new(0))
    }

    /// For the owner only: puts a descriptor into an empty place.
    pub(crate) fn lend(&self, fd: OwnedFd) {
        // An open descriptor's number is never negative.
        let number = u64::from(fd.into_raw_fd().unsigned_abs());
        // Release: pairs with the Acquire in `borrow_once`.
        self.0.store(HELD | number, Ordering::Release);
    }

    /// For the owner only. `None` if the place is empty.
    pub(crate) fn borrow<T>(&self, look: impl FnOnce(BorrowedFd<'_>) -> T) -> Option<T> {
        let state = self.0.load(Ordering::Acquire);
        (state & HELD != 0).then(|| {
            // SAFETY: open as long as `HELD` is set. Only the owner unsets it, and the owner is the
            // caller.
            look(unsafe { BorrowedFd::borrow_raw(number(state)) })
        })
    }

    /// For anybody, at any time; does nothing after the first borrower is done. Async-signal-safe
    /// if `look` is.
    pub(crate) fn borrow_once(&self, look: impl FnOnce(BorrowedFd<'_>)) {
        let may = |state: u64| (state & (HELD | BORROWED) == HELD).then(|| state + BORROWER);
        let entered = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, may);
        if let Ok(state) = entered {
            // SAFETY: open. The mark was set in the same step in which `HELD` was found set, and
            // `close` and `take_unborrowed` neither close nor give away a number with a mark.
            look(unsafe { BorrowedFd::borrow_raw(number(state)) });
            self.0.fetch_or(BORROWED, Ordering::AcqRel);
            self.0.fetch_sub(BORROWER, Ordering::AcqRel);
        }
    }

    /// For the owner only: takes the descriptor out, if nobody has ever borrowed it or borrows it
    /// now.
    pub(crate) fn take_unborrowed(&self) -> Option<OwnedFd> {
        let state = self.0.load(Ordering::Acquire);
        let untouched = state & !NUMBER == HELD;
        let taken = untouched
            && self
                .0
                .compare_exchange(state, 0, Ordering::AcqRel, Ordering::Acquire)
                .is_ok();
        // SAFETY: the number comes from `lend`, and nobody else can reach it since the exchange.
        taken.then(|| unsafe { OwnedFd::from_raw_fd(number(state)) })
    }

    /// For the owner only: closes the descriptor if there is one. Returns whether the place may be
    /// used again. If somebody borrows the descriptor now, both stay as they are.
    pub(crate) fn close(&self) -> bool {
        let state = self.0.fetch_and(!HELD, Ordering::AcqRel);
        let is_free = state < BORROWER;
        if is_free && state & HELD != 0 {
            // SAFETY: the number comes from `lend`. Nobody borrows it, and nobody can since `HELD`
            // is gone.
            drop(unsafe { OwnedFd::from_raw_fd(number(state)) });
        }
        is_free
    }
}

/// `lend` took the number from a descriptor, so the mask loses nothing of it.
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
            // SAFETY: it was left open, and nobody owns it any more.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        });
        assert!(place.borrow(|fd| fd.as_raw_fd()).is_none());
    }
}
