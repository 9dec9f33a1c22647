//! What this process has inherited, taken over by the promise of a caller.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The promise of who calls [`Watchdog::from_env`](crate::Watchdog::from_env), for what rests on
/// it.
#[derive(Debug)]
pub(crate) struct Inherited(());

#[allow(clippy::unused_self, reason = "the value stands for the promise")]
impl Inherited {
    /// # Safety
    /// Nothing in this process owns the descriptor numbers that the variable names, and no other
    /// thread uses the environment other than by the functions of [`std::env`](mod@std::env).
    pub(crate) unsafe fn promised() -> Inherited {
        Inherited(())
    }

    /// The owner of a number that was found open as the pipe or the page which the variable names.
    /// Once for each number.
    pub(crate) fn own(&self, number: RawFd) -> OwnedFd {
        // SAFETY: open, and nobody else's, by the promise.
        unsafe { OwnedFd::from_raw_fd(number) }
    }

    /// Looks at such a number.
    pub(crate) fn borrow<T>(&self, number: RawFd, look: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
        // SAFETY: open, and closed by nobody meanwhile, since nobody owns it, by the promise.
        look(unsafe { BorrowedFd::borrow_raw(number) })
    }

    /// Takes a variable out of the environment.
    ///
    /// # References
    /// [unsetenv(3)](https://man7.org/linux/man-pages/man3/unsetenv.3.html): it fails for a name
    /// that is none
    pub(crate) fn forget(&self, name: &'static str) {
        // SAFETY: nobody reads the environment behind the back of `std::env`, by the promise.
        unsafe { std::env::remove_var(name) };
    }
}
