//! A watcher without a thread, driven by the caller's own loop.

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

/// How often one call of [`Driver::dispatch`] asks the kernel. The limit keeps callbacks that
/// always watch again from occupying the caller's loop.
const ROUNDS: usize = 16;

/// Drives a [`Watcher`] that has no thread, from the caller's event loop. Made by
/// [`Builder::build_driven`].
///
/// Its descriptor becomes readable when there is something to report. Then call
/// [`dispatch`](Driver::dispatch), on any thread. Callbacks run inside that call, and futures are
/// woken inside it.
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
/// No exit is reported any more: callbacks are dropped without a call. Futures, and all further
/// calls of the watcher, return [`Error::ShutDown`]. Children that should have been
/// [reaped](Watcher::watch_and_reap) are reaped in the background
/// ([`Process::reap_when_exited`](crate::Process::reap_when_exited)).
///
/// # Forks
///
/// A copy made by fork does nothing to the parent's driver. There `dispatch` returns
/// [`ForkedCopy`](Error::ForkedCopy).
pub struct Driver {
    shared: Arc<Shared>,
    poller: Arc<Poller>,
    events: Vec<Event>,
}

impl Builder {
    /// Opens the two descriptors and starts no thread: exits are reported only inside
    /// [`Driver::dispatch`].
    ///
    /// [`Watcher::shutdown`] of such a watcher has no thread to wait for. It does not wait for a
    /// callback either that is running on another thread.
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
    /// Reports everything that there is to report now, and does not wait. `false` means that there
    /// may be more, because callbacks started new watches. Then call it again before you wait for
    /// an *edge* of the descriptor. A loop that uses its level (`poll`, `select`) can ignore the
    /// result.
    ///
    /// A callback may make all calls of this crate. [`cancel`](crate::WatchHandle::cancel) does not
    /// wait there.
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

    /// Whether there will never be anything to report: the last watcher was dropped or shut down,
    /// and all children that it had to reap were reaped.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.shared.generation.is_current() && self.shared.registry.is_finished()
    }
}

/// Readable when there is something to report. Works level-triggered and edge-triggered.
impl AsFd for Driver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.poller.as_fd()
    }
}

/// For event loops that need it, such as tokio's `AsyncFd`. The driver owns the number; do not
/// close it.
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
        // It does not matter that there is no thread to wake.
        let _ = self.shared.close(Close::AndEnd);
        // A callback that was dropped may have forked.
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
