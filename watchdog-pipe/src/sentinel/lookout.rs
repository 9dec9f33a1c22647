//! The child's side: one word, and a thread that sleeps on it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

use rustix::thread::futex::{self, Flags, Timespec};

use super::slot::Says;
use super::sys::{self, Mapped};
use crate::home::Home;
use crate::sys::BlockedSignals;

/// The shortest that the kernel gives, and shorter than the sentinel's: the dying thread that wakes this one on its own
/// CPU gives way at once, and takes the memory down afterwards.
const SLICE: Duration = Duration::from_micros(100);

/// What this process was given of its parent's sentinel.
#[derive(Debug)]
pub(crate) struct Lookout {
    word: Mapped,
    link: u32,
    home: Home,
}

impl Lookout {
    pub(super) fn new(word: Mapped, link: u32, home: Home) -> Lookout {
        Lookout { word, link, home }
    }

    /// Whether the parent died while it held the word.
    pub(crate) fn parent_died(&self) -> bool {
        self.word.says(self.link) == Says::Died
    }

    /// Whether it can still say anything.
    pub(crate) fn speaks(&self) -> bool {
        self.word.says(self.link) != Says::Nothing
    }

    /// Sleeps until the parent has died; `false` when the word has nothing more to say, or the state is another.
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
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

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
/// It sleeps on the word no more.
const LEFT: u32 = 2;

impl Shared {
    fn leave(&self) {
        if self.state.swap(LEFT, Ordering::AcqRel) == STOP {
            let _ = futex::wake(&self.state, Flags::PRIVATE, 1);
        }
    }

    /// Returns when the thread has left.
    fn stop(&self) {
        let now = self
            .state
            .compare_exchange(LISTENS, STOP, Ordering::AcqRel, Ordering::Acquire);
        let mut left = now == Err(LEFT);
        while !left {
            // Whoever has looked at the state and does not sleep yet misses it, and the word is not ours to change: once
            // more then.
            self.lookout.word.wake();
            let again = Timespec {
                tv_sec: 0,
                tv_nsec: 1_000_000,
            };
            let _ = futex::wait(&self.state, Flags::PRIVATE, STOP, Some(&again));
            left = self.state.load(Ordering::Acquire) == LEFT;
        }
    }
}

impl Listener {
    /// Enough for our own frames.
    pub(crate) const STACK: usize = 128 * 1024;

    /// `then` runs when the parent died, and only then. Every signal is blocked in it.
    pub(crate) fn start(
        lookout: Arc<Lookout>,
        thread: thread::Builder,
        then: impl FnOnce() + Send + 'static,
    ) -> io::Result<Listener> {
        let shared = Arc::new(Shared {
            lookout,
            state: AtomicU32::new(LISTENS),
        });
        let theirs = Arc::clone(&shared);
        // The thread inherits the mask: at no instant can it run a handler of the program's.
        let _blocked = BlockedSignals::all()?;
        let thread = thread.spawn(move || {
            sys::ask_for_slices(SLICE);
            let died = theirs.lookout.wait(&theirs.state);
            theirs.leave();
            if died {
                then();
            }
        })?;
        Ok(Listener {
            shared,
            thread: Some(thread),
        })
    }

    pub(crate) fn thread(&self) -> Option<ThreadId> {
        self.thread.as_ref().map(|thread| thread.thread().id())
    }
}

/// Ends the thread, and waits for that.
impl Drop for Listener {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        if !self.shared.lookout.home.is_here() {
            // A copy made by fork has no such thread.
            std::mem::forget(thread);
            return;
        }
        self.shared.stop();
        // An Err is a panic in what the thread ran: it has ended all the same.
        if let Err(payload) = thread.join() {
            std::mem::forget(payload);
        }
    }
}
