//! The parent's side: words for links that come and go.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::address::Address;
use super::slot::Slot;
use super::sys::SLOTS;
use super::thread::Sentinel;
use crate::sys::{ForkGeneration, Published};

/// While there are fresh ones, so many slots lie idle before one is used again: its last child has
/// had time to look away.
const IDLE: usize = 64;

/// The sentinels of this process, and not of one that it was forked from.
#[derive(Debug)]
struct Sentinels {
    generation: ForkGeneration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The last one gives slots that were never used.
    running: Vec<&'static Sentinel>,
    /// How many of its slots were.
    used: usize,
    /// First in, first out.
    idle: VecDeque<(&'static Sentinel, usize)>,
    /// This kernel, or a filter, refuses what a sentinel needs: not asked again.
    refused: bool,
}

impl Sentinels {
    /// Asked before the lock is taken: a copy made by fork has nobody who would ever open it.
    fn of(generation: ForkGeneration) -> &'static Sentinels {
        static LATEST: Published<Sentinels> = Published::empty();
        match LATEST.latest() {
            Some(sentinels) if sentinels.generation.number == generation.number => sentinels,
            // None yet, or those of the process that this one was forked from.
            other => LATEST.replace(
                other,
                Sentinels {
                    generation,
                    state: Mutex::default(),
                },
            ),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread that can sleep in no way any more ends here, before the process does: its links
    /// have the pipe alone from now on, and so has every later one.
    fn over(&'static self, thread: u32) {
        // A word is given to the thread under this lock alone. Where a filter refuses futex(2), it
        // is a lock that spins, for as long as a link takes to be made.
        let mut state = self.lock();
        state.refused = true;
        state.used = SLOTS;
        state.idle.retain(|(sentinel, _)| sentinel.thread != thread);
        let place = state.running.iter().position(|it| it.thread == thread);
        if let Some(place) = place {
            state.running.remove(place).end();
        }
    }
}

impl State {
    fn slot(&mut self, sentinels: &'static Sentinels) -> Option<(&'static Sentinel, usize)> {
        if self.idle.len() < IDLE
            && let Some(fresh) = self.fresh(sentinels)
        {
            return Some(fresh);
        }
        self.idle.pop_front()
    }

    /// A slot that was never used; a sentinel more only when none at all is left.
    fn fresh(&mut self, sentinels: &'static Sentinels) -> Option<(&'static Sentinel, usize)> {
        if (self.running.is_empty() || self.used == SLOTS) && self.idle.is_empty() && !self.refused
        {
            match Sentinel::start(sentinels, Sentinels::over) {
                Ok(sentinel) => {
                    self.running.push(Box::leak(Box::new(sentinel)));
                    self.used = 0;
                }
                Err(error) => self.refused = !may_pass(&error),
            }
        }
        let sentinel = self.running.last()?;
        (self.used < SLOTS).then(|| {
            self.used += 1;
            (*sentinel, self.used - 1)
        })
    }
}

/// What runs out can be there again at the next link.
fn may_pass(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN)
    )
}

/// A word, held for one link until the value goes.
pub(crate) struct SlotLease {
    sentinels: &'static Sentinels,
    sentinel: &'static Sentinel,
    index: usize,
    link: u32,
}

/// Not the sentinel, which has thousands of words.
impl fmt::Debug for SlotLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotLease")
            .field("index", &self.index)
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

impl SlotLease {
    /// `None` where the pipe must do alone.
    pub(crate) fn take(generation: ForkGeneration) -> Option<SlotLease> {
        let sentinels = Sentinels::of(generation);
        let mut state = sentinels.lock();
        let (sentinel, index) = state.slot(sentinels)?;
        let slot = &sentinel.words[index];
        let link = slot.take(sentinel.thread);
        drop(state);
        if link > 1 {
            // A child of an earlier link that still sleeps here would be woken in place of this
            // link's.
            slot.wake();
        }
        Some(SlotLease {
            sentinels,
            sentinel,
            index,
            link,
        })
    }

    fn slot(&self) -> Option<&'static Slot> {
        // In a copy made by fork the words are not even mapped.
        (self.sentinels.generation.is_current()).then(|| &self.sentinel.words[self.index])
    }

    /// From here on the child is told by the pipe alone.
    pub(crate) fn let_go(&self) {
        if let Some(slot) = self.slot() {
            slot.let_go(self.sentinel.thread);
        }
    }

    /// Undoes [`SlotLease::let_go`].
    pub(crate) fn hold_again(&self) {
        let Some(slot) = self.slot() else {
            return;
        };
        let state = self.sentinels.lock();
        if self.stands() {
            slot.hold_again(self.sentinel.thread);
        }
        drop(state);
    }

    /// Whether the sentinel still stands behind the word.
    pub(crate) fn stands(&self) -> bool {
        !self.sentinel.has_ended()
    }

    /// The page for the child.
    pub(crate) fn page(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.sentinel.memfd)
    }

    /// Where the child finds the word, with the page on that number.
    pub(crate) fn address(&self, fd: RawFd) -> Address {
        Address {
            fd,
            device: self.sentinel.device,
            inode: self.sentinel.inode,
            offset: (self.index * size_of::<Slot>()) as u64,
            link: self.link,
        }
    }
}

impl Drop for SlotLease {
    fn drop(&mut self) {
        if let Some(slot) = self.slot() {
            slot.let_go(self.sentinel.thread);
            let mut state = self.sentinels.lock();
            if self.stands() {
                state.idle.push_back((self.sentinel, self.index));
            }
        }
    }
}
