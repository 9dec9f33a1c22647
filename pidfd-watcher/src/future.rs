//! An exit as a future.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::sys::ForkGeneration;
use crate::{Error, Exit, Process, WatchHandle, Watcher};

/// Resolves to the [`Exit`] of a process. Made by [`Watcher::exited`] and [`Process::exited`].
///
/// It needs no particular executor: the watcher's thread wakes it. If it is polled again after it
/// is ready, it returns the same answer again. Dropping it removes it from the watcher, and never
/// waits.
///
/// # Errors
///
/// Its output is an error if the process could not be watched (as [`Watcher::watch`]), and
/// [`Error::ShutDown`] if the last watcher was dropped first.
#[derive(Debug)]
#[must_use = "futures do nothing unless awaited"]
pub struct ExitFuture(Kind);

#[derive(Debug)]
enum Kind {
    Watched {
        handle: WatchHandle,
        cell: Arc<Cell>,
        generation: ForkGeneration,
    },
    Failed(Error),
}

/// Where the callback stores the exit for the future.
#[derive(Debug)]
struct Cell(Mutex<State>);

#[derive(Debug)]
enum State {
    Waiting(Option<Waker>),
    Exited(Exit),
    ShutDown,
}

impl Cell {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on nobody is woken.
    fn take_waker(&self) -> Option<Waker> {
        match &mut *self.lock() {
            State::Waiting(waker) => waker.take(),
            State::Exited(_) | State::ShutDown => None,
        }
    }

    /// Sets the answer, unless there is one already. Wakes without the lock, because a waker may
    /// poll at once.
    fn settle(&self, answer: State) {
        let mut state = self.lock();
        let State::Waiting(waker) = &mut *state else {
            return;
        };
        let waker = waker.take();
        *state = answer;
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The callback's reference to the cell. If it is dropped without an exit, it records that none
/// will come.
struct Teller(Arc<Cell>);

impl Drop for Teller {
    fn drop(&mut self) {
        self.0.settle(State::ShutDown);
    }
}

impl ExitFuture {
    pub(crate) fn new(watcher: &Watcher, process: &Process) -> ExitFuture {
        let cell = Arc::new(Cell(Mutex::new(State::Waiting(None))));
        let teller = Teller(Arc::clone(&cell));
        let registered = watcher.watch(process, move |exit| teller.0.settle(State::Exited(exit)));
        ExitFuture(match registered {
            Ok(handle) => Kind::Watched {
                generation: handle.generation(),
                handle,
                cell,
            },
            Err(error) => Kind::Failed(error),
        })
    }
}

impl Watcher {
    /// The exit of a process as a future, for any executor. The process is watched from this call
    /// on, even if the future is not polled.
    ///
    /// If the process cannot be watched, the error is the future's output.
    pub fn exited(&self, process: &Process) -> ExitFuture {
        ExitFuture::new(self, process)
    }
}

impl Process {
    /// The exit of this process as a future, from [the watcher that the whole process
    /// shares](Watcher::global).
    ///
    /// If that watcher cannot be started, or cannot watch, the error is the future's output.
    pub fn exited(&self) -> ExitFuture {
        match Watcher::global() {
            Ok(watcher) => watcher.exited(self),
            Err(error) => ExitFuture(Kind::Failed(error)),
        }
    }
}

impl Future for ExitFuture {
    type Output = Result<Exit, Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (cell, generation) = match &self.0 {
            Kind::Failed(error) => return Poll::Ready(Err(error.again())),
            Kind::Watched {
                cell, generation, ..
            } => (cell, generation),
        };
        // Cloned before the lock is taken, and the old one dropped after it is released: both run
        // foreign code.
        let fresh = context.waker().clone();
        // Checked after that, because such code may fork: in the copy the lock may be held for
        // ever.
        if !generation.is_current() {
            return Poll::Ready(Err(Error::ForkedCopy));
        }
        let mut state = cell.lock();
        let old = match &mut *state {
            State::Exited(exit) => return Poll::Ready(Ok(*exit)),
            State::ShutDown => return Poll::Ready(Err(Error::ShutDown)),
            State::Waiting(waker) => waker.replace(fresh),
        };
        drop(state);
        drop(old);
        Poll::Pending
    }
}

impl Drop for ExitFuture {
    fn drop(&mut self) {
        let Kind::Watched {
            handle,
            cell,
            generation,
        } = &self.0
        else {
            return;
        };
        // In a copy made by fork the cell's lock may be held for ever.
        if !generation.is_current() {
            return;
        }
        // Done before the callback is dropped: that tells whoever still waits that no exit will
        // come.
        drop(cell.take_waker());
        // If the callback is running, it finds nobody to wake. That does no harm.
        let _ = handle.cancel_without_waiting();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    /// A fork may happen while another thread holds the cell's lock: in the copy it stays locked
    /// for ever.
    #[test]
    fn copy_made_by_fork_asks_for_no_lock() {
        let watcher = Watcher::new().expect("watcher");
        let process = Process::open(rustix::process::getpid()).expect("own process");
        let mut future = watcher.exited(&process);
        let Kind::Watched {
            cell, generation, ..
        } = &mut future.0
        else {
            panic!("watched");
        };
        generation.number += 1 << 40;
        let cell = Arc::clone(cell);
        let locked = cell.lock();
        let (say, said) = channel();
        std::thread::spawn(move || {
            let polled = Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop()));
            drop(future);
            let _ = say.send(polled);
        });
        let polled = said.recv_timeout(Duration::from_secs(60));
        assert!(
            matches!(polled, Ok(Poll::Ready(Err(Error::ForkedCopy)))),
            "{polled:?}"
        );
        drop(locked);
    }
}
