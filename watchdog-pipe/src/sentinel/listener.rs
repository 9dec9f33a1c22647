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

/// The shortest slice that the kernel grants, and shorter than the sentinel's. So when the dying
/// thread wakes this one on its own CPU, it yields the CPU at once, and tears down the memory
/// afterwards.
const SLICE: Duration = Duration::from_micros(100);

/// How often a thread that must leave is woken. A thread that is about to sleep is reached by one
/// of the next wake-ups. A thread that sleeps on another word is never reached: whoever maps the
/// page can move it there (`FUTEX_REQUEUE`), and every child of the same parent maps it.
const WAKE_UPS: usize = 2_000;

/// A thread that sleeps on the word as long as this value lives.
#[derive(Debug)]
pub(crate) struct Listener {
    status: ListenerStatus,
    /// `None` only while this value is being dropped.
    thread: Option<Thread>,
    generation: ForkGeneration,
}

/// Whether a listener still listens.
#[derive(Clone, Debug)]
pub(crate) struct ListenerStatus(Arc<ListenerState>);

#[derive(Debug)]
struct ListenerState {
    observer: Arc<SlotObserver>,
    /// A futex instead of a lock. Memory that was not touched for long is slow to reach, and every
    /// page of it between the parent's death and the act adds to the delay.
    state: AtomicU32,
}

/// The thread sleeps on the word, or is about to.
const LISTENS: u32 = 0;
/// The thread must leave, and another thread waits for that.
const STOP: u32 = 1;
/// The thread does nothing any more that needs the word.
const LEFT: u32 = 2;
/// The word can report nothing any more. The thread waits until it must leave.
const DONE: u32 = 3;

impl ListenerStatus {
    /// Whether this thread hears of the parent's death, or has heard of it.
    pub(crate) fn is_listening(&self) -> bool {
        // Acquire: pairs with the exchange in `wait_to_leave` and the swap in `leave`. The
        // listening thread's last look at the word happens before this thread's look. So a death
        // that ended the listening is seen here. Without it, a promise that was kept could look
        // broken.
        self.0.state.load(Ordering::Acquire) == LISTENS || self.0.observer.parent_died()
    }
}

impl ListenerState {
    /// Sleeps until it must leave. It does not end by itself, because a filter need not allow a
    /// thread to end while the protection lasts.
    fn wait_to_leave(&self) {
        // Release: pairs with the Acquire in `is_listening`. This thread's last look at the word
        // happens before another thread sees `DONE`. Acquire, here and below: pairs with the
        // exchange in `stop`. What happened before `STOP` was set happens before this thread
        // leaves. Nothing relies on this Acquire today: the word alone says what to do.
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
        // Release: pairs with the Acquire loads in `stop`. This thread's last look at the word
        // happens before `stop` returns. Without it, the page could be unmapped during that look.
        if self.state.swap(LEFT, Ordering::AcqRel) == STOP {
            let _ = futex::wake(&self.state, Flags::PRIVATE, 1);
        }
    }

    /// Returns `true` when the thread has left. Returns `false` if the kernel lets nobody wake the
    /// thread or wait for it, or if the thread sleeps on another word by now. Then it leaves when
    /// somebody wakes it, and does nothing more.
    fn stop(&self) -> bool {
        // Release: pairs with the Acquire loads in `wait_to_leave` and in `start`. Acquire if it
        // fails: pairs with the swap in `leave`. If the thread has left already, its last look is
        // done.
        for now in [LISTENS, DONE] {
            let _ = self
                .state
                .compare_exchange(now, STOP, Ordering::AcqRel, Ordering::Acquire);
        }
        let _ = futex::wake(&self.state, Flags::PRIVATE, 1);
        for _ in 0..WAKE_UPS {
            // A thread that has looked at the state but does not sleep yet misses this wake-up, and
            // this process cannot change the word. So this is repeated.
            self.observer.wake();
            let again = Timespec {
                tv_sec: 0,
                tv_nsec: 1_000_000,
            };
            match futex::wait(&self.state, Flags::PRIVATE, STOP, Some(&again)) {
                Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => {}
                // This call is made at least once, to see whether it is allowed: the C library's
                // wait for the thread ends the process if it is refused.
                Err(_) => return false,
            }
            if self.state.load(Ordering::Acquire) == LEFT {
                return true;
            }
        }
        false
    }
}

impl Listener {
    /// Stack size for a thread that runs only this crate's code.
    pub(crate) const STACK: usize = 128 * 1024;

    /// `then` runs when the parent has died, and only then. Every signal is blocked in its thread.
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
        // A copy made by fork may listen as well, because it has the mapping too.
        let generation = ForkGeneration::current()?;
        let state = AtomicU32::new(LISTENS);
        let status = ListenerStatus(Arc::new(ListenerState { observer, state }));
        let theirs = Arc::clone(&status.0);
        let thread = Thread::begin(start, generation, move || {
            // Acquire: pairs with the exchange in `stop`, as in `wait_to_leave`.
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

/// Ends the thread and waits for that. Does not wait in a copy made by fork, which has no such
/// thread.
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
