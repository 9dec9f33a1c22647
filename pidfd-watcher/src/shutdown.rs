//! Ends a watcher, and waits until it is gone.

use std::sync::PoisonError;
use std::{error, fmt, io};

use rustix::io::Errno;

use crate::registry::{Close, Subject};
use crate::thread::Dispatcher;
use crate::{Error, Process, Watcher, waiting};

/// [`Watcher::shutdown`] failed.
#[derive(Debug)]
#[non_exhaustive]
pub struct ShutdownError {
    /// The children that the watcher should have reaped and has not. They are yours again.
    pub unreaped: Vec<Process>,
    /// What went wrong.
    pub error: Error,
}

impl Watcher {
    /// Ends the watcher, even if other clones of it exist, and waits until its thread is gone.
    ///
    /// When this returns, the thread has left the process and its two descriptors are closed. So
    /// `unshare` of a user namespace, which fails in a process with several threads, works if there
    /// are no other threads.
    ///
    /// - **Callbacks** that wait are dropped unrun. If one is running, this waits for it: do not
    ///   hold what it needs.
    /// - **Futures** resolve to [`Error::ShutDown`]. All further calls on other clones return it
    ///   too.
    /// - **Children to be [reaped](Watcher::watch_and_reap)** that have exited are reaped. Those
    ///   that live are returned, because this does not wait for them. Their callbacks are dropped
    ///   too.
    /// - **Another shutdown** at the same time waits as well, and returns no children.
    ///
    /// Shutting down a clone of the [global](Watcher::global) watcher ends it for every part of the
    /// program.
    ///
    /// # Errors
    ///
    /// - [`Io`](Error::Io): `EDEADLK`, if called in a callback of any watcher, or by something that
    ///   a watcher drops. The thread cannot wait for itself. Nothing happens, except that this
    ///   clone is dropped.
    /// - [`ForkedCopy`](Error::ForkedCopy): nothing happens.
    /// - [`Io`](Error::Io): `ETIMEDOUT`, if a tracer still holds the thread 5 seconds after its
    ///   end.
    /// - [`PermissionDenied`](Error::PermissionDenied), [`Unsupported`](Error::Unsupported): a
    ///   filter refuses `getpid`, `gettid`, `tgkill`, `clock_gettime` or `ppoll`, so this cannot
    ///   find out whether the thread is gone. Or it refuses `write`, so the thread cannot be woken,
    ///   and stays.
    ///
    /// After the last two the watcher accepts no calls either, and all callbacks are dropped.
    ///
    /// # References
    ///
    /// [unshare(2)](https://man7.org/linux/man-pages/man2/unshare.2.html)
    pub fn shutdown(self) -> Result<Vec<Process>, ShutdownError> {
        let shared = &self.0.shared;
        let refused = |error| ShutdownError {
            unreaped: Vec::new(),
            error,
        };
        if !shared.generation.is_current() {
            return Err(refused(Error::ForkedCopy));
        }
        if waiting::never_waits() {
            return Err(refused(Error::of_call(Errno::DEADLK)));
        }
        // Locked from here on, so that another shutdown waits for all of this one.
        let mut dispatcher = self
            .0
            .dispatcher
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let woken = shared.close(Close::AndEnd);
        // A callback that was dropped may have forked.
        if !shared.generation.is_current() {
            return Err(refused(Error::ForkedCopy));
        }
        // If the thread was not woken, it sleeps on, and waiting for it would never end.
        woken.map_err(|errno| refused(Error::of_call(errno)))?;
        let joined = dispatcher.take().map_or(Ok(()), Dispatcher::join);
        drop(dispatcher);
        let mut unreaped = shared.registry.take_unreaped();
        unreaped.retain(|process| !Subject::reap(process));
        match joined {
            Ok(()) => Ok(unreaped),
            Err(errno) => Err(ShutdownError {
                unreaped,
                error: Error::of_call(errno),
            }),
        }
    }
}

impl fmt::Display for ShutdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shut down the watcher: {}", self.error)
    }
}

impl error::Error for ShutdownError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Keeps the kernel's errno. The children that were not reaped are dropped.
impl From<ShutdownError> for io::Error {
    fn from(failed: ShutdownError) -> io::Error {
        failed.error.into()
    }
}
