//! The child's side: one word, and a thread that sleeps on it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

use super::slot::Says;
use super::sys::{self, Mapped};
use crate::home::Home;
use crate::sys::BlockedSignals;

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

    /// Sleeps until the parent has died; `false` when the word has nothing more to say, or `stop` was set.
    fn wait(&self, stop: &AtomicBool) -> bool {
        while !stop.load(Ordering::Acquire) {
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
    stop: AtomicBool,
    /// The thread sleeps on the word no more.
    left: Mutex<bool>,
    leaves: Condvar,
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
            stop: AtomicBool::new(false),
            left: Mutex::new(false),
            leaves: Condvar::new(),
        });
        let theirs = Arc::clone(&shared);
        // The thread inherits the mask: at no instant can it run a handler of the program's.
        let _blocked = BlockedSignals::all()?;
        let thread = thread.spawn(move || {
            sys::ask_for_short_slices();
            let died = theirs.lookout.wait(&theirs.stop);
            *theirs.left.lock().unwrap_or_else(PoisonError::into_inner) = true;
            theirs.leaves.notify_all();
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
            // A copy made by fork has no such thread, and maybe a lock that nobody opens.
            std::mem::forget(thread);
            return;
        }
        self.shared.stop.store(true, Ordering::Release);
        let mut left = self
            .shared
            .left
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        while !*left {
            // Whoever has looked at `stop` and does not sleep yet misses it, and the word is not ours to change: once
            // more then.
            self.shared.lookout.word.wake();
            let again = Duration::from_millis(1);
            (left, _) = self
                .shared
                .leaves
                .wait_timeout(left, again)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(left);
        // An Err is a panic in what the thread ran: it has ended all the same.
        if let Err(payload) = thread.join() {
            std::mem::forget(payload);
        }
    }
}
