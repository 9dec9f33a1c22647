//! A stop as a future. If the future is dropped, the stop continues by itself.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use pidfd_watcher::{Error, ExitFuture, Process, Sleep, TimedExitFuture, Watcher};

use crate::stopping::{Next, Stopping};
use crate::{StopError, StopReport};

/// How long to sleep if a process cannot be watched.
const NAP: Duration = Duration::from_millis(10);

/// Runs a stop on the executor that polls it.
#[derive(Debug)]
pub(crate) struct StopFuture {
    /// `None` after the end.
    driven: Option<Driven>,
    /// Set when the stop continues without this future. It reaps the shim then, and nothing else
    /// must reap it before.
    goes_on: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Driven {
    stopping: Stopping,
    /// `None`: nothing was signalled yet.
    begun: Option<Waiting>,
}

/// What the next step waits for.
enum Waiting {
    Nothing,
    Exit(Process, Exits),
    Time(Sleep),
}

enum Exits {
    Endless(ExitFuture),
    Timed(TimedExitFuture),
}

impl StopFuture {
    pub(crate) fn new(stopping: Stopping, goes_on: Arc<AtomicBool>) -> StopFuture {
        StopFuture {
            goes_on,
            driven: Some(Driven {
                stopping,
                begun: None,
            }),
        }
    }
}

impl Future for StopFuture {
    type Output = Result<StopReport, StopError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(driven) = &mut self.driven else {
            return Poll::Pending;
        };
        let polled = driven.poll(context);
        if polled.is_ready() {
            self.driven = None;
        }
        polled
    }
}

impl Drop for StopFuture {
    fn drop(&mut self) {
        if let Some(driven) = self.driven.take()
            && driven.begun.is_some()
        {
            // Relaxed: the handler, which reads it, is borrowed until this future is gone.
            self.goes_on.store(true, Ordering::Relaxed);
            let detached = Arc::new(Detached {
                leader: driven.stopping.leader().clone(),
                driven: Mutex::new(Some(driven)),
                woken: AtomicBool::new(false),
            });
            detached.wake();
        }
    }
}

impl Driven {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<StopReport, StopError>> {
        let polled = self.drive(context);
        if let Poll::Ready(Err(error)) = &polled {
            self.stopping.failed(error);
        }
        polled
    }

    fn drive(&mut self, context: &mut Context<'_>) -> Poll<Result<StopReport, StopError>> {
        let Driven { stopping, begun } = self;
        loop {
            match begun {
                None => {
                    // Before the first signal, check that this future can be woken.
                    try_to_wait(stopping.leader(), context)?;
                    *begun = Some(Waiting::Nothing);
                }
                Some(waiting) => match waiting.poll(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(result) => result?,
                },
            }
            let next = match stopping.step()? {
                Next::Done(report) => return Poll::Ready(Ok(report)),
                Next::Exit(process, time) => Waiting::exit(process, time)?,
                Next::Time(time) => Waiting::Time(Watcher::global()?.sleep(time)),
            };
            *begun = Some(next);
        }
    }
}

/// Returns an error if it is impossible to wait for an exit or for a time.
fn try_to_wait(leader: &Process, context: &mut Context<'_>) -> Result<(), Error> {
    // Long enough not to pass during this check.
    const LONG: Duration = Duration::from_secs(3600);
    let mut both = Watcher::global()?.exited_within(leader, LONG);
    match Pin::new(&mut both).poll(context) {
        Poll::Ready(Err(error)) => Err(error),
        // The time is checked separately, because the exit may have happened already.
        Poll::Ready(Ok(_)) | Poll::Pending => {
            let mut time = Watcher::global()?.sleep(LONG);
            match Pin::new(&mut time).poll(context) {
                Poll::Ready(Err(error)) => Err(error),
                Poll::Ready(Ok(())) | Poll::Pending => Ok(()),
            }
        }
    }
}

impl Waiting {
    fn exit(process: Process, time: Option<Duration>) -> Result<Waiting, Error> {
        let watcher = Watcher::global()?;
        let exits = match time {
            None => Exits::Endless(watcher.exited(&process)),
            Some(time) => Exits::Timed(watcher.exited_within(&process, time)),
        };
        Ok(Waiting::Exit(process, exits))
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let polled = match self {
            Waiting::Nothing => return Poll::Ready(Ok(())),
            Waiting::Time(sleep) => Pin::new(sleep).poll(context),
            Waiting::Exit(_, Exits::Endless(exit)) => {
                Pin::new(exit).poll(context).map_ok(|_exit| ())
            }
            Waiting::Exit(_, Exits::Timed(exit)) => Pin::new(exit).poll(context).map_ok(|_exit| ()),
        };
        match (polled, &self) {
            // Another thread has shut the watcher down. The next step uses a new one.
            (Poll::Ready(Err(Error::ShutDown)), _) => Poll::Ready(Ok(())),
            // No epoll watch is left. Repeated checks need none.
            (Poll::Ready(Err(_)), Waiting::Exit(..)) => {
                *self = Waiting::Time(Watcher::global()?.sleep(NAP));
                self.poll(context)
            }
            (polled, _) => polled,
        }
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Waiting::Nothing => f.write_str("Nothing"),
            Waiting::Exit(process, _) => f.debug_tuple("Exit").field(process).finish(),
            Waiting::Time(_) => f.write_str("Time"),
        }
    }
}

/// A stop whose future was dropped. Each wake polls it, on the thread that wakes it: the watcher's.
struct Detached {
    leader: Process,
    /// `None` after the end.
    driven: Mutex<Option<Driven>>,
    woken: AtomicBool,
}

impl Wake for Detached {
    fn wake(self: Arc<Self>) {
        // SeqCst: no wake is lost. A thread that finds the lock taken has set `woken` before, and
        // the thread that has the lock reads `woken` after it releases the lock.
        self.woken.store(true, Ordering::SeqCst);
        while self.woken.load(Ordering::SeqCst) {
            // Another thread, or a caller of this call, polls it at this moment and will check
            // again.
            let Ok(mut driven) = self.driven.try_lock() else {
                return;
            };
            self.woken.store(false, Ordering::SeqCst);
            let waker = Waker::from(Arc::clone(&self));
            let over = driven.as_mut().is_none_or(|driven| {
                let mut context = Context::from_waker(&waker);
                driven.poll(&mut context).is_ready()
            });
            if over && driven.take().is_some() {
                // A stop that failed has not reaped the shim.
                self.leader.reap_when_exited();
            }
        }
    }
}
