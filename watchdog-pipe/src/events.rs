//! What a subscriber of the `tracing` crate is told. Without the feature `tracing` every function
//! here is empty.
//!
//! An event comes after what it is about: a subscriber that blocks delays nothing that the other
//! side waits for. Nothing that runs between the parent's death and the act of
//! [`enforce`](crate::Watchdog::enforce) may call this, no signal handler, no sentinel and no
//! listener.

#![cfg_attr(not(feature = "tracing"), allow(unused_variables))]

use std::io;
use std::os::fd::RawFd;

use crate::{AdoptError, Verdict};

#[cfg(feature = "tracing")]
const TARGET: &str = "watchdog_pipe";

macro_rules! tell {
    ($level:ident, $($event:tt)*) => {
        #[cfg(feature = "tracing")]
        contain(|| tracing::$level!(target: TARGET, $($event)*))
    };
}

/// A subscriber that panics changes nothing of what is done: the panic ends here.
#[cfg(feature = "tracing")]
fn contain(tell: impl FnOnce()) {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    if let Err(panicked) = catch_unwind(AssertUnwindSafe(tell)) {
        crate::payload::discard(panicked);
    }
}

#[cfg(feature = "tracing")]
fn as_dyn<'a>(
    error: &'a (impl std::error::Error + 'static),
) -> &'a (dyn std::error::Error + 'static) {
    error
}

/// The parent has made a link; `fd` is its write end.
#[inline]
pub(crate) fn made(fd: RawFd, sentinel: bool) {
    tell!(debug, fd, sentinel, "link made");
}

/// The child was told that its parent dropped the keepalive.
#[inline]
pub(crate) fn dropped(fd: RawFd) {
    tell!(debug, fd, "link dropped");
}

/// The child was told to live on.
#[inline]
pub(crate) fn released(fd: RawFd) {
    tell!(debug, fd, "link released");
}

/// The write end is the caller's.
#[inline]
pub(crate) fn handed_over(fd: RawFd) {
    tell!(debug, fd, "link handed over");
}

/// The child could not be told that it is let go of.
#[inline]
pub(crate) fn not_let_go(error: &io::Error) {
    tell!(warn, error = as_dyn(error), "link not let go");
}

/// The child has its end; `fd` is the read end.
#[inline]
pub(crate) fn adopted(fd: RawFd, sentinel: bool) {
    tell!(debug, fd, sentinel, "adopted");
}

/// The child could not take its end.
#[inline]
pub(crate) fn not_adopted(error: &AdoptError) {
    tell!(warn, error = as_dyn(error), "not adopted");
}

/// The caller learns what became of the parent.
#[inline]
pub(crate) fn verdict(verdict: Verdict) {
    tell!(info, ?verdict, "verdict");
}
