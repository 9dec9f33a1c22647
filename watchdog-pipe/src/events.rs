//! The events of this crate, for subscribers of the `tracing` crate. Without the feature `tracing`
//! every function here is empty.
//!
//! An event comes after the action that it reports, so a subscriber that blocks does not delay what
//! the other process waits for. These must not call this module:
//! - the threads of [`enforce`](crate::Watchdog::enforce), between the death of the parent and the
//!   stop of this process;
//! - the threads of sentinel and listener, before they have acted;
//! - signal handlers, and children before their exec.

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

/// Stops a panic of the subscriber here, so that it changes nothing for the caller.
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

/// The parent made a link. `fd` is the write end.
#[inline]
pub(crate) fn made(fd: RawFd, sentinel: bool) {
    tell!(debug, fd, sentinel, "link made");
}

/// The parent told the child that it dropped the keepalive.
#[inline]
pub(crate) fn dropped(fd: RawFd) {
    tell!(debug, fd, "link dropped");
}

/// The parent told the child to live on.
#[inline]
pub(crate) fn released(fd: RawFd) {
    tell!(debug, fd, "link released");
}

/// The caller has the write end now.
#[inline]
pub(crate) fn handed_over(fd: RawFd) {
    tell!(debug, fd, "link handed over");
}

/// A release or a hand-over failed.
#[inline]
pub(crate) fn not_let_go(error: &io::Error) {
    tell!(warn, error = as_dyn(error), "link not let go");
}

/// The child adopted its end. `fd` is the read end.
#[inline]
pub(crate) fn adopted(fd: RawFd, sentinel: bool) {
    tell!(debug, fd, sentinel, "adopted");
}

/// The adoption failed.
#[inline]
pub(crate) fn not_adopted(error: &AdoptError) {
    tell!(warn, error = as_dyn(error), "not adopted");
}

/// The caller learns the verdict.
#[inline]
pub(crate) fn verdict(verdict: Verdict) {
    tell!(info, ?verdict, "verdict");
}
