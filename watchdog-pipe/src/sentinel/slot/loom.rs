//! Every order in which parent, kernel and children can meet in a slot. Run by `cargo xtask loom`.
//!
//! A child of the link before looks at the same slot as the child of the next link, and nothing
//! orders the two but the slot's own words. Loom also tries what a processor may do with them: a
//! load that finds an old value is one of the orders.

use loom::sync::Arc;
use loom::sync::atomic::AtomicU32;
use loom::thread::{self, JoinHandle};

use super::{Atomic, OWNER, Ordering, Slot, SlotState};

/// The sentinel's thread id.
const SENTINEL: u32 = 7;

type LoomSlot = Slot<AtomicU32>;

impl Atomic for AtomicU32 {
    fn load(&self, order: Ordering) -> u32 {
        self.load(order)
    }

    fn store(&self, value: u32, order: Ordering) {
        self.store(value, order);
    }

    fn compare_exchange(
        &self,
        current: u32,
        new: u32,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u32, u32> {
        self.compare_exchange(current, new, success, failure)
    }
}

fn slot() -> Arc<LoomSlot> {
    Arc::new(Slot {
        word: AtomicU32::new(0),
        link: AtomicU32::new(0),
    })
}

/// The kernel, when the sentinel ends: `handle_futex_death` in kernel/futex/core.c. It is not said
/// there that the exchange orders anything, so here it orders nothing.
fn die(slot: &LoomSlot) {
    loop {
        let word = slot.word.load(Ordering::Relaxed);
        if word & OWNER != SENTINEL {
            return;
        }
        let died = (word & libc::FUTEX_WAITERS) | libc::FUTEX_OWNER_DIED;
        let done = slot
            .word
            .compare_exchange(word, died, Ordering::Relaxed, Ordering::Relaxed);
        if done.is_ok() {
            return;
        }
    }
}

/// A child of that link, which looks twice.
fn child(slot: &Arc<LoomSlot>, link: u32) -> JoinHandle<[SlotState; 2]> {
    let slot = Arc::clone(slot);
    thread::spawn(move || [slot.state(link), slot.state(link)])
}

/// What the child of a link may see that was let go, and whose death was not told before.
fn is_of_a_link_that_was_let_go(seen: [SlotState; 2]) -> bool {
    // Once the slot says nothing more to this child, it goes on to say nothing.
    !seen.contains(&SlotState::OwnerDied)
        && (seen[0] != SlotState::Detached || seen[1] == SlotState::Detached)
}

#[test]
fn child_of_the_link_before_is_told_neither_the_life_nor_the_death_of_the_next_one() {
    loom::model(|| {
        let slot = slot();
        let before = slot.take(SENTINEL);
        let child = child(&slot, before);
        assert!(slot.let_go(SENTINEL));
        let next = slot.take(SENTINEL);
        die(&slot);
        assert_eq!(slot.state(next), SlotState::OwnerDied);
        let seen = child.join().unwrap();
        assert!(is_of_a_link_that_was_let_go(seen), "{seen:?}");
    });
}

#[test]
fn child_of_the_next_link_is_told_its_death_whatever_it_was_told_of_the_slot() {
    loom::model(|| {
        let slot = slot();
        slot.take(SENTINEL);
        assert!(slot.let_go(SENTINEL));
        let next = slot.take(SENTINEL);
        // It is started with the number of its link, and after that link was made.
        let child = child(&slot, next);
        die(&slot);
        let seen = child.join().unwrap();
        assert!(!seen.contains(&SlotState::Detached), "{seen:?}");
        assert_eq!(slot.state(next), SlotState::OwnerDied);
    });
}

#[test]
fn link_that_is_let_go_while_the_sentinel_dies_is_either_let_go_or_told() {
    loom::model(|| {
        let slot = slot();
        let link = slot.take(SENTINEL);
        let child = child(&slot, link);
        let kernel = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || die(&slot))
        };
        let was_let_go = slot.let_go(SENTINEL);
        kernel.join().unwrap();
        let seen = child.join().unwrap();
        if was_let_go {
            assert!(is_of_a_link_that_was_let_go(seen), "{seen:?}");
            assert_eq!(slot.state(link), SlotState::Detached);
        } else {
            assert!(!seen.contains(&SlotState::Detached), "{seen:?}");
            assert_eq!(slot.state(link), SlotState::OwnerDied);
        }
    });
}

#[test]
fn announcement_amid_two_links_of_a_slot_is_told_to_the_one_that_has_it() {
    loom::model(|| {
        let slot = slot();
        let before = slot.take(SENTINEL);
        let child = child(&slot, before);
        let announcer = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || slot.announce(SENTINEL))
        };
        let was_let_go = slot.let_go(SENTINEL);
        let next = slot.take(SENTINEL);
        announcer.join().unwrap();
        let seen = child.join().unwrap();
        if was_let_go {
            assert!(is_of_a_link_that_was_let_go(seen), "{seen:?}");
        }
        // Announced before, the next link is as good as any.
        let told = slot.state(next);
        assert!(told != SlotState::Detached, "{told:?}");
        assert!(was_let_go || told != SlotState::OwnerDied, "{told:?}");
    });
}

#[test]
fn link_that_is_held_again_is_not_taken_for_its_own_by_the_child_of_the_one_before() {
    loom::model(|| {
        let slot = slot();
        let before = slot.take(SENTINEL);
        let child = child(&slot, before);
        assert!(slot.let_go(SENTINEL));
        let next = slot.take(SENTINEL);
        assert!(slot.let_go(SENTINEL));
        slot.hold_again(SENTINEL);
        die(&slot);
        assert_eq!(slot.state(next), SlotState::OwnerDied);
        let seen = child.join().unwrap();
        assert!(is_of_a_link_that_was_let_go(seen), "{seen:?}");
    });
}
