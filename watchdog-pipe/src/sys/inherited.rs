//! What this process inherited, taken over because a caller promised that it may be.

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The promise of the caller of [`Watchdog::from_env`](crate::Watchdog::from_env), for all code
/// that relies on it.
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

    /// Takes ownership of a number. The number was found open as the pipe or the page that the
    /// variable names. Call it once for each number.
    pub(crate) fn own(&self, number: RawFd) -> OwnedFd {
        // SAFETY: by the promise, the number is open and nobody owns it.
        unsafe { OwnedFd::from_raw_fd(number) }
    }

    /// Lends such a number to `look`.
    pub(crate) fn borrow<T>(&self, number: RawFd, look: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
        // SAFETY: by the promise nobody owns the number, so nobody closes it meanwhile. It is open.
        look(unsafe { BorrowedFd::borrow_raw(number) })
    }

    /// Removes a variable from the environment.
    ///
    /// # References
    /// [unsetenv(3)](https://man7.org/linux/man-pages/man3/unsetenv.3.html): it fails only for an
    /// invalid name
    pub(crate) fn forget(&self, name: &'static str) {
        // SAFETY: by the promise nobody reads the environment except by `std::env`.
        unsafe { std::env::remove_var(name) };
    }
}
