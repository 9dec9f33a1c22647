//! One child's word, as parent and child see it.

mod atomic;
#[cfg(all(test, loom))]
mod loom;

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;
use rustix::thread::futex::{self, Flags};

use atomic::Atomic;

/// The bits that hold the thread that owns the word: its number in its own PID namespace
/// (include/uapi/linux/futex.h).
const OWNER: u32 = libc::FUTEX_TID_MASK;

/// What the kernel makes of a word from [`held_by`]: it has no owner, and its owner died.
const OWNER_DIED: u32 = libc::FUTEX_WAITERS | libc::FUTEX_OWNER_DIED;

/// A robust-futex word, and the number of the link that it belongs to. The distance between two
/// words is the distance between two list nodes, so a slot is as large as a node.
#[derive(Debug)]
#[repr(C, align(8))]
pub(crate) struct Slot<A = AtomicU32> {
    /// - 0: nobody owns it, and the pipe alone counts.
    /// - The sentinel's thread id and `FUTEX_WAITERS`: the sentinel lives.
    /// - `FUTEX_OWNER_DIED`: set by the kernel, which then wakes one waiter.
    word: A,
    /// The slot serves one link after another: this is the number of the current one.
    link: A,
}

/// What a slot tells the child of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotState {
    /// The sentinel lives. Contains the word, to wait on.
    Owned(u32),
    /// The sentinel died while it owned the word for this link.
    OwnerDied,
    /// The slot tells this child nothing: the link has ended, is being released or handed over, or
    /// the slot belongs to another link. A child that sees this stops listening.
    Detached,
}

impl<A: Atomic> Slot<A> {
    /// Parent: gives the slot to the next link, and returns that link's number.
    pub(crate) fn take(&self, thread: u32) -> u32 {
        let link = self.link.load(Ordering::Relaxed).wrapping_add(1);
        self.link.store(link, Ordering::Relaxed);
        // Release: pairs with the Acquire in `state`. The store of the number happens before this
        // store. So a child that loads this word also loads this number, or a later one. Without
        // it, the child of the previous link could see this link's word together with its own
        // number, and take the owner's life and death for its own link's.
        self.word.store(held_by(thread), Ordering::Release);
        link
    }

    /// Parent: takes the word out of the sentinel's reach. `false`: the kernel or
    /// [`Slot::announce`] has reported a death before. That report stays.
    pub(crate) fn let_go(&self, thread: u32) -> bool {
        // Any exchange, in any order, continues the release sequence that the store in `take` has
        // begun. So a child that loads the word from here, by the Acquire in `state`, also loads
        // the number of this link. If this were a plain store, the child could load the number of
        // the previous link, and take this 0 for its own. `AcqRel` also keeps the exchange after
        // everything that this thread did for the link before. What the parent writes to the pipe
        // later also comes later for the child: the kernel's lock of the pipe orders that.
        let (held, nobody) = (held_by(thread), 0);
        let left = self
            .word
            .compare_exchange(held, nobody, Ordering::AcqRel, Ordering::Relaxed);
        left.is_ok() || left == Err(nobody)
    }

    /// Parent: marks the word as the kernel does when its owner dies. Wakes nobody yet.
    pub(crate) fn announce(&self, thread: u32) {
        // As in `let_go`.
        let (held, died) = (held_by(thread), OWNER_DIED);
        let _ = self
            .word
            .compare_exchange(held, died, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Parent: whether [`Slot::announce`] has marked the word.
    pub(crate) fn is_announced(&self) -> bool {
        self.word.load(Ordering::Relaxed) == OWNER_DIED
    }

    /// Parent: puts the word back into the sentinel's reach, for the same link.
    pub(crate) fn hold_again(&self, thread: u32) {
        // An exchange for the same reason as in `let_go`: a child that loads the word also loads
        // the number of this link.
        let (held, nobody) = (held_by(thread), 0);
        let _ = self
            .word
            .compare_exchange(nobody, held, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Child: what the slot tells about its link.
    pub(crate) fn state(&self, link: u32) -> SlotState {
        // Acquire: pairs with the Release in `take`. The number is loaded after the word. The
        // kernel marks the word by an atomic exchange, which continues the release sequence of the
        // store before it. So a child that loads the mark also loads the number of the link that
        // was marked.
        let word = self.word.load(Ordering::Acquire);
        if self.link.load(Ordering::Relaxed) != link {
            SlotState::Detached
        } else if word & libc::FUTEX_OWNER_DIED != 0 {
            SlotState::OwnerDied
        } else if word & OWNER != 0 {
            SlotState::Owned(word)
        } else {
            SlotState::Detached
        }
    }
}

impl Slot {
    /// Child: sleeps until the word changes. May also wake for no reason.
    ///
    /// # References
    /// [futex(2)](https://man7.org/linux/man-pages/man2/futex.2.html): shared between processes,
    /// and a mapping that cannot be written to is enough for `FUTEX_WAIT`.
    pub(crate) fn sleep(&self, word: u32) -> io::Result<()> {
        match futex::wait(&self.word, Flags::empty(), word, None) {
            Ok(()) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Wakes all that sleep on the word. The kernel wakes only one, and that may be a sleeper whose
    /// link has ended.
    pub(crate) fn wake(&self) {
        let _ = futex::wake(&self.word, Flags::empty(), i32::MAX.unsigned_abs());
    }
}

const fn held_by(thread: u32) -> u32 {
    thread | libc::FUTEX_WAITERS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn died(slot: &Slot) {
        // As `handle_futex_death` in kernel/futex/core.c does.
        let word = slot.word.load(Ordering::Relaxed);
        if word & OWNER != 0 {
            let died = (word & libc::FUTEX_WAITERS) | libc::FUTEX_OWNER_DIED;
            slot.word.store(died, Ordering::Relaxed);
        }
    }

    fn fresh() -> Slot {
        Slot {
            word: AtomicU32::new(0),
            link: AtomicU32::new(0),
        }
    }

    #[test]
    fn a_death_is_told_to_the_link_that_has_the_slot_alone() {
        let slot = fresh();
        let first = slot.take(7);
        assert_eq!(slot.state(first), SlotState::Owned(7 | libc::FUTEX_WAITERS));
        slot.let_go(7);
        assert_eq!(slot.state(first), SlotState::Detached);
        let second = slot.take(7);
        assert_eq!(slot.state(first), SlotState::Detached);
        died(&slot);
        assert_eq!(
            (slot.state(first), slot.state(second)),
            (SlotState::Detached, SlotState::OwnerDied)
        );
    }

    #[test]
    fn an_announced_death_stays_told_until_the_next_link() {
        let slot = fresh();
        let link = slot.take(7);
        // Another sentinel's is none of this one's business.
        slot.announce(8);
        assert!(!slot.is_announced());
        slot.announce(7);
        assert!(slot.is_announced());
        assert!(!slot.let_go(7));
        slot.hold_again(7);
        assert_eq!(slot.state(link), SlotState::OwnerDied);
        let next = slot.take(7);
        assert_eq!(slot.state(next), SlotState::Owned(7 | libc::FUTEX_WAITERS));
        assert!(slot.let_go(7));
        assert!(slot.let_go(7));
        slot.announce(7);
        assert_eq!(slot.state(next), SlotState::Detached);
    }

    #[test]
    fn a_link_that_was_let_go_is_not_told_and_one_held_again_is() {
        let slot = fresh();
        let link = slot.take(7);
        slot.let_go(7);
        died(&slot);
        assert_eq!(slot.state(link), SlotState::Detached);
        slot.hold_again(7);
        assert_eq!(slot.state(link), SlotState::Owned(7 | libc::FUTEX_WAITERS));
        died(&slot);
        slot.let_go(7);
        slot.hold_again(7);
        assert_eq!(slot.state(link), SlotState::OwnerDied);
    }
}
