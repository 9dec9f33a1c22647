//! The child's side: one word, and a thread that sleeps on it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::futex::{self, Flags, Timespec};

use super::slot::Says;
use super::sys::MappedSlot;
use crate::status::Extras;
use crate::sys::ForkGeneration;
use crate::thread::{Start, Thread};

/// The shortest that the kernel gives, and shorter than the sentinel's: the dying thread that wakes this one on its own
/// CPU gives way at once, and takes the memory down afterwards.
const SLICE: Duration = Duration::from_micros(100);

/// What this process was given of its parent's sentinel.
#[derive(Debug)]
pub(crate) struct Lookout {
    word: MappedSlot,
    link: u32,
}

impl Lookout {
    pub(super) fn new(word: MappedSlot, link: u32) -> Lookout {
        Lookout { word, link }
    }

    /// Whether the parent died while it held the word.
    pub(crate) fn parent_died(&self) -> bool {
        self.word.says(self.link) == Says::Died
    }

    /// Whether it can still say anything.
    pub(crate) fn speaks(&self) -> bool {
        self.word.says(self.link) != Says::Nothing
    }

    /// Sleeps until the parent has died; `false` when the word has nothing more to say, the kernel lets nobody sleep on
    /// it, or the state is another.
    fn wait(&self, state: &AtomicU32) -> bool {
        while state.load(Ordering::Acquire) == LISTENS {
            match self.word.says(self.link) {
                Says::Lives(word) => {
                    if self.word.sleep(word).is_err() {
                        return false;
                    }
                }
                said => {
                    // The kernel wakes one sleeper of a word. Others may be there: a copy of this process made by fork;
                    // and if the word is another link's by now, that link's child.
                    self.word.wake();
                    return said == Says::Died;
                }
            }
        }
        false
    }
}

/// A thread that sleeps on the word, for as long as the value lives.
#[derive(Debug)]
pub(crate) struct Listener {
    ear: Ear,
    /// `None` only while it goes.
    thread: Option<Thread>,
    generation: ForkGeneration,
}

/// Whether a listener listens.
#[derive(Clone, Debug)]
pub(crate) struct Ear(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lookout: Arc<Lookout>,
    /// A futex, and no lock: of what lies between the parent's death and the act, every page of memory counts that was
    /// not touched for long.
    state: AtomicU32,
}

/// The thread sleeps on the word, or is about to.
const LISTENS: u32 = 0;
/// It is to leave, and somebody waits for that.
const STOP: u32 = 1;
/// It does nothing any more that needs the word.
const LEFT: u32 = 2;
/// The word says nothing any more, and the thread waits until it is to leave.
const DEAF: u32 = 3;

impl Ear {
    /// Whether the parent's death is heard here, or was.
    pub(crate) fn hears(&self) -> bool {
        self.0.state.load(Ordering::Acquire) == LISTENS || self.0.lookout.parent_died()
    }
}

impl Shared {
    /// Sleeps until it is to leave. A filter need not allow a thread to end as long as the protection lasts.
    fn is_deaf(&self) {
        let (listens, deaf) = (Ordering::AcqRel, Ordering::Acquire);
        let mut state = self
            .state
            .compare_exchange(LISTENS, DEAF, listens, deaf)
            .map_or_else(|state| state, |_| DEAF);
        while state == DEAF {
            match futex::wait(&self.state, Flags::PRIVATE, DEAF, None) {
                Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(_) => return,
            }
            state = self.state.load(Ordering::Acquire);
        }
    }

    fn leave(&self) {
        if self.state.swap(LEFT, Ordering::AcqRel) == STOP {
            let _ = futex::wake(&self.state, Flags::PRIVATE, 1);
        }
    }

    /// Returns when the thread has left; `false` where the kernel lets nobody wake it, or wait for it. It leaves when the
    /// word changes, then, and does nothing more.
    fn stop(&self) -> bool {
        for now in [LISTENS, DEAF] {
            let _ = self
                .state
                .compare_exchange(now, STOP, Ordering::AcqRel, Ordering::Acquire);
        }
        let _ = futex::wake(&self.state, Flags::PRIVATE, 1);
        loop {
            // Whoever has looked at the state and does not sleep yet misses it, and the word is not ours to change: once
            // more then.
            self.lookout.word.wake();
            let again = Timespec {
                tv_sec: 0,
                tv_nsec: 1_000_000,
            };
            match futex::wait(&self.state, Flags::PRIVATE, STOP, Some(&again)) {
                Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => {}
                // Asked at least once: the C library's wait for the thread ends the process where this fails.
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
        lookout: Arc<Lookout>,
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
        let ear = Ear(Arc::new(Shared { lookout, state }));
        let theirs = Arc::clone(&ear.0);
        let thread = Thread::start(start, generation, move || {
            let died = theirs.lookout.wait(&theirs.state);
            if !died {
                theirs.is_deaf();
            }
            theirs.leave();
            if died {
                then();
            }
        })?;
        let thread = Some(thread);
        Ok(Listener {
            ear,
            thread,
            generation,
        })
    }

    pub(crate) fn ear(&self) -> Ear {
        self.ear.clone()
    }
}

/// Ends the thread, and waits for that; not in a copy made by fork, which has no such thread.
impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take()
            && self.generation.is_current()
            && self.ear.0.stop()
        {
            thread.join();
        }
    }
}
