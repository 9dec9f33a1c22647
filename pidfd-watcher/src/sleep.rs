//! A timer as a future, and an exit with a timeout.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::shared::Shared;
use crate::timers::{Key, State};
use crate::{Error, Exit, ExitFuture, Process, Watcher, sys};

/// Resolves when a time is over. Made by [`Watcher::sleep`].
///
/// It needs no particular executor: the watcher's thread wakes it. Dropping it removes it from the
/// watcher, and never waits.
///
/// # Errors
///
/// Its output is an error if the timer could not be set, and [`Error::ShutDown`] if the last
/// watcher was dropped first.
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep(Kind);

enum Kind {
    Set {
        shared: Arc<Shared>,
        key: Key,
    },
    /// Longer than the clock can represent.
    Endless,
    Failed(Error),
}

impl Watcher {
    /// A future for any executor that resolves after `time`, on the monotonic clock. All timers of
    /// a watcher share one descriptor, which the first one opens.
    ///
    /// If it cannot be opened, the error is the future's output:
    /// [`TooManyOpenFiles`](Error::TooManyOpenFiles), [`WatchLimit`](Error::WatchLimit), or one
    /// from a seccomp filter.
    ///
    /// # References
    ///
    /// [timerfd_create(2)](https://man7.org/linux/man-pages/man2/timerfd_create.2.html)
    pub fn sleep(&self, time: Duration) -> Sleep {
        Sleep(self.set_timer(time).unwrap_or_else(Kind::Failed))
    }

    /// The exit of a process as a future, or `None` if `timeout` is over first. Like
    /// [`Process::wait_timeout`], for any executor.
    ///
    /// If the process cannot be watched, or the timer cannot be set, the error is the future's
    /// output.
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
        // The poller is gone if the thread has ended.
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
                // Cloned before the lock is taken, because it runs foreign code.
                let waker = context.waker().clone();
                // Checked after that, because such code may fork: in the copy the lock may be held
                // for ever.
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

/// Resolves to the [`Exit`] of a process, or to `None` if a time is over first. Made by
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
