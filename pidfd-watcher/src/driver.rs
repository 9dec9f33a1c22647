//! A watcher without a thread: the caller's own loop drives it.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::{Arc, Mutex};

use rustix::event::Timespec;
use rustix::event::epoll::Event;

use crate::poller::Poller;
use crate::registry::{Close, Subject};
use crate::shared::Shared;
use crate::watcher::{Builder, Watcher, WatcherInner};
use crate::{Error, waiting};

/// How many times one call of [`Driver::dispatch`] asks the kernel, so that callbacks that watch
/// without end do not keep the caller's loop.
const ROUNDS: usize = 16;

/// Drives a [`Watcher`] that has no thread, from an event loop of the caller's; made by
/// [`Builder::build_driven`].
///
/// Its descriptor becomes readable when there is something to tell. Then call
/// [`dispatch`](Driver::dispatch), on whichever thread: callbacks run in it, and futures are woken
/// in it.
///
/// ```
/// use std::process::Command;
/// use pidfd_watcher::{Builder, Process};
/// use rustix::event::{PollFd, PollFlags, poll};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (watcher, mut driver) = Builder::new().build_driven()?; // no thread
/// let process = Process::from_child(&mut Command::new("true").spawn()?)?;
/// let (tell, told) = std::sync::mpsc::channel();
/// watcher.watch_and_reap(process, move |exit| tell.send(exit).unwrap_or(()))?;
/// let exit = loop {
///     // Any loop will do: this one waits for nothing else.
///     poll(&mut [PollFd::new(&driver, PollFlags::IN)], None)?;
///     driver.dispatch()?;
///     if let Ok(exit) = told.try_recv() {
///         break exit;
///     }
/// };
/// assert!(exit.status.is_some_and(|status| status.success()));
/// # Ok(())
/// # }
/// ```
///
/// # When it is dropped
///
/// All that wait are told no more: their callbacks are dropped unrun, and futures resolve to
/// [`Error::ShutDown`], as do all further calls of the watcher. Children that were to be
/// [reaped](Watcher::watch_and_reap) are reaped in the background
/// ([`Process::reap_when_exited`](crate::Process::reap_when_exited)).
///
/// # Forks
///
/// A copy made by fork does nothing to the parent's; `dispatch` says
/// [`ForkedCopy`](Error::ForkedCopy) there.
pub struct Driver {
    shared: Arc<Shared>,
    poller: Arc<Poller>,
    events: Vec<Event>,
}

impl Builder {
    /// Opens the two descriptors and starts no thread: nothing is told but in
    /// [`Driver::dispatch`].
    ///
    /// [`Watcher::shutdown`] of such a watcher has no thread to wait for. A callback that runs at
    /// that moment on another thread is not waited for either.
    ///
    /// # Errors
    ///
    /// As [`build`](Builder::build), without those of the thread.
    pub fn build_driven(self) -> Result<(Watcher, Driver), Error> {
        let (shared, poller) = self.parts()?;
        let watcher = Watcher(Arc::new(WatcherInner {
            shared: Arc::clone(&shared),
            dispatcher: Mutex::new(None),
        }));
        let driver = Driver {
            shared,
            poller,
            events: Vec::new(),
        };
        Ok((watcher, driver))
    }
}

impl Driver {
    /// Tells all that there is to tell at this moment, and does not wait. `false`: there may be
    /// more, since the callbacks went on to watch; call it again before you wait for an *edge* of
    /// the descriptor. A loop that goes by its level (`poll`, `select`) need not look at the
    /// answer.
    ///
    /// Inside a callback all calls of this crate are allowed;
    /// [`cancel`](crate::WatchHandle::cancel) does not wait there.
    ///
    /// # Errors
    ///
    /// - [`ForkedCopy`](Error::ForkedCopy).
    /// - [`PermissionDenied`](Error::PermissionDenied), [`Unsupported`](Error::Unsupported): a
    ///   seccomp filter.
    pub fn dispatch(&mut self) -> Result<bool, Error> {
        if !self.shared.generation.is_current() {
            return Err(Error::ForkedCopy);
        }
        let now = Timespec::default();
        for _ in 0..ROUNDS {
            let (shared, poller, events) = (&*self.shared, &*self.poller, &mut self.events);
            let mut told = Ok(false);
            waiting::without_waiting(|| told = shared.turn(poller, events, Some(&now)));
            if !told.map_err(Error::of_call)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether there will never be anything to tell: the last watcher was dropped or shut down, and
    /// all children that it was to reap were reaped.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.shared.generation.is_current() && self.shared.registry.is_finished()
    }
}

/// Readable when there is something to tell. Level or edge will do.
impl AsFd for Driver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}

/// For event loops that ask for it, as tokio's `AsyncFd` does. The number is the driver's own, and
/// not to be closed.
impl AsRawFd for Driver {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("poller", &self.poller)
            .finish_non_exhaustive()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // In a copy made by fork neither the epoll instance nor the locks are ours.
        if !self.shared.generation.is_current() {
            return;
        }
        // Waking a thread that is not there is no matter.
        let _ = self.shared.close(Close::AndEnd);
        // What was dropped may have forked.
        if !self.shared.generation.is_current() {
            return;
        }
        for process in self.shared.registry.take_unreaped() {
            if !Subject::reap(&process) {
                process.reap_when_exited();
            }
        }
    }
}
