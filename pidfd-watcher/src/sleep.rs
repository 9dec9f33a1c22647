//! A time as a future, and an exit within a time.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::shared::Shared;
use crate::timers::{Key, State};
use crate::{Error, Exit, ExitFuture, Process, Watcher, sys};

/// Resolves when a time is over; made by [`Watcher::sleep`].
///
/// Needs no executor in particular: it is woken from the watcher's thread. Dropping it takes it out
/// of the watcher, and never waits.
///
/// # Errors
///
/// Its output is an error where the watcher could not be told, and [`Error::ShutDown`] when the
/// last watcher was dropped first.
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep(Kind);

enum Kind {
    Set {
        shared: Arc<Shared>,
        key: Key,
    },
    /// Longer than the clock can count.
    Endless,
    Failed(Error),
}

impl Watcher {
    /// A time from now on, on the monotonic clock, as a future for any executor. All of a watcher's
    /// times share one descriptor, which the first of them opens.
    ///
    /// An error to open it is the future's output: [`TooManyOpenFiles`](Error::TooManyOpenFiles),
    /// [`WatchLimit`](Error::WatchLimit), or a seccomp filter's.
    ///
    /// # References
    ///
    /// [timerfd_create(2)](https://man7.org/linux/man-pages/man2/timerfd_create.2.html)
    pub fn sleep(&self, time: Duration) -> Sleep {
        Sleep(self.set_timer(time).unwrap_or_else(Kind::Failed))
    }

    /// The exit of a process as a future, or `None` when `timeout` is over first: as
    /// [`Process::wait_timeout`], for any executor.
    ///
    /// An error to watch, or of the time, is the future's output.
    pub fn exited_within(&self, process: &Process, timeout: Duration) -> TimedExitFuture {
        TimedExitFuture {
            exit: self.exited(process),
            time: self.sleep(timeout),
        }
    }

    fn set_timer(&self, time: Duration) -> Result<Kind, Error> {
        let shared = &self.0.shared;
        if !shared.generation.is_current() {
            return Err(Error::ForkedCopy);
        }
        // Gone with the thread.
        let Some(poller) = shared.poller.upgrade() else {
            return Err(Error::ShutDown);
        };
        let now = sys::monotonic().map_err(Error::of_call)?;
        let Some(at) = now.checked_add(time) else {
            return Ok(Kind::Endless);
        };
        let key = shared.timers.add(at, &poller).map_err(Error::of_watch)?;
        Ok(Kind::Set {
            shared: Arc::clone(shared),
            key,
        })
    }
}

impl Future for Sleep {
    type Output = Result<(), Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &self.0 {
            Kind::Failed(error) => Poll::Ready(Err(error.again())),
            Kind::Endless => Poll::Pending,
            Kind::Set { shared, key } => {
                // Cloned before the lock is taken: it is somebody else's code.
                let waker = context.waker().clone();
                // Asked after that, since such code may fork: nobody opens the lock in the copy.
                if !shared.generation.is_current() {
                    return Poll::Ready(Err(Error::ForkedCopy));
                }
                match shared.timers.look(*key, waker) {
                    State::Waits => Poll::Pending,
                    State::Over => Poll::Ready(Ok(())),
                    State::Closed => Poll::Ready(Err(Error::ShutDown)),
                }
            }
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Kind::Set { shared, key } = &self.0
            && shared.generation.is_current()
        {
            shared.timers.remove(*key);
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep").finish_non_exhaustive()
    }
}

/// Resolves to the [`Exit`] of a process, or to `None` when a time is over first; made by
/// [`Watcher::exited_within`].
///
/// # Errors
///
/// As [`ExitFuture`] and [`Sleep`].
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct TimedExitFuture {
    exit: ExitFuture,
    time: Sleep,
}

impl Future for TimedExitFuture {
    type Output = Result<Option<Exit>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(exit) = Pin::new(&mut self.exit).poll(context) {
            return Poll::Ready(exit.map(Some));
        }
        Pin::new(&mut self.time).poll(context).map_ok(|()| None)
    }
}
