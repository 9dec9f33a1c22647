//! A thread that sleeps on the word of the parent's sentinel.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::futex::{self, Flags, Timespec};

use super::observer::SlotObserver;
use crate::status::Extras;
use crate::sys::ForkGeneration;
use crate::thread::{Start, Thread};

/// The shortest that the kernel gives, and shorter than the sentinel's: the dying thread that wakes
/// this one on its own CPU gives way at once, and takes the memory down afterwards.
const SLICE: Duration = Duration::from_micros(100);

/// A thread that sleeps on the word, for as long as the value lives.
#[derive(Debug)]
pub(crate) struct Listener {
    status: ListenerStatus,
    /// `None` only while it goes.
    thread: Option<Thread>,
    generation: ForkGeneration,
}

/// Whether a listener listens.
#[derive(Clone, Debug)]
pub(crate) struct ListenerStatus(Arc<ListenerState>);

#[derive(Debug)]
struct ListenerState {
    observer: Arc<SlotObserver>,
    /// A futex, and no lock: of what lies between the parent's death and the act, every page of
    /// memory counts that was not touched for long.
    state: AtomicU32,
}

/// The thread sleeps on the word, or is about to.
const LISTENS: u32 = 0;
/// It is to leave, and somebody waits for that.
const STOP: u32 = 1;
/// It does nothing any more that needs the word.
const LEFT: u32 = 2;
/// The word says nothing any more, and the thread waits until it is to leave.
const DONE: u32 = 3;

impl ListenerStatus {
    /// Whether the parent's death is heard here, or was.
    pub(crate) fn is_listening(&self) -> bool {
        // Acquire, for the exchange in `wait_to_leave` and the swap in `leave`: the thread's last
        // look at the word happens before this thread's, by which a death that ended the listening
        // is seen here. Without that, a promise that was kept could read as one that is broken.
        self.0.state.load(Ordering::Acquire) == LISTENS || self.0.observer.parent_died()
    }
}

impl ListenerState {
    /// Sleeps until it is to leave. A filter need not allow a thread to end as long as the
    /// protection lasts.
    fn wait_to_leave(&self) {
        // Release, for the Acquire in `is_listening`: this thread's last look at the word happens
        // before anybody finds it `DONE`. Acquire, here and below, for the exchange in `stop`: what
        // happened before `STOP` was set happens before this thread goes on to leave. No memory is
        // passed on by that today; the word alone says what to do.
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        let mut state = self
            .state
            .compare_exchange(LISTENS, DONE, success, failure)
            .map_or_else(|state| state, |_| DONE);
        while state == DONE {
            match futex::wait(&self.state, Flags::PRIVATE, DONE, None) {
                Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => return,
            }
            state = self.state.load(Ordering::Acquire);
        }
    }

    fn leave(&self) {
        // Release, for the Acquire loads in `stop`: the last look of this thread at the word
        // happens before `stop` returns. Without that, the page could be unmapped under that look.
        if self.state.swap(LEFT, Ordering::AcqRel) == STOP {
            let _ = futex::wake(&self.state, Flags::PRIVATE, 1);
        }
    }

    /// Returns when the thread has left; `false` where the kernel lets nobody wake it, or wait for
    /// it. It leaves when the word changes, then, and does nothing more.
    fn stop(&self) -> bool {
        // Release, for the Acquire loads in `wait_to_leave` and in `start`. Acquire where it fails,
        // for the swap in `leave`: a thread that has left already is seen with its last look done.
        for now in [LISTENS, DONE] {
            let _ = self
                .state
                .compare_exchange(now, STOP, Ordering::AcqRel, Ordering::Acquire);
        }
        let _ = futex::wake(&self.state, Flags::PRIVATE, 1);
        loop {
            // Whoever has looked at the state and does not sleep yet misses it, and the word is not
            // ours to change: once more then.
            self.observer.wake();
            let again = Timespec {
                tv_sec: 0,
                tv_nsec: 1_000_000,
            };
            match futex::wait(&self.state, Flags::PRIVATE, STOP, Some(&again)) {
                Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => {}
                // Asked at least once: the C library's wait for the thread ends the process where
                // this fails.
                Err(_) => return false,
            }
            if self.state.load(Ordering::Acquire) == LEFT {
                return true;
            }
        }
    }
}

impl Listener {
    /// Enough for our own frames.
    pub(crate) const STACK: usize = 128 * 1024;

    /// `then` runs when the parent died, and only then. Every signal is blocked in it.
    pub(crate) fn start(
        observer: Arc<SlotObserver>,
        stack: usize,
        extras: Extras,
        then: impl FnOnce() + Send + 'static,
    ) -> io::Result<Listener> {
        let start = Start {
            name: c"watchdog-listen",
            stack,
            slice: Some(SLICE),
            extras,
        };
        // A copy made by fork may listen as well: the mapping came along.
        let generation = ForkGeneration::current()?;
        let state = AtomicU32::new(LISTENS);
        let status = ListenerStatus(Arc::new(ListenerState { observer, state }));
        let theirs = Arc::clone(&status.0);
        let thread = Thread::begin(start, generation, move || {
            // Acquire, for the exchange in `stop`, as in `wait_to_leave`.
            let died = theirs
                .observer
                .wait(|| theirs.state.load(Ordering::Acquire) == LISTENS);
            if !died {
                theirs.wait_to_leave();
            }
            theirs.leave();
            if died {
                then();
            }
        })?;
        let thread = Some(thread.wait()?);
        Ok(Listener {
            status,
            thread,
            generation,
        })
    }

    pub(crate) fn status(&self) -> ListenerStatus {
        self.status.clone()
    }
}

/// Ends the thread, and waits for that; not in a copy made by fork, which has no such thread.
impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take()
            && self.generation.is_current()
            && self.status.0.stop()
        {
            thread.join();
        }
    }
}
