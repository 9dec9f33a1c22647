//! The child's side: one word of the parent's sentinel.

use super::slot::SlotState;
use super::sys::MappedSlot;

/// What this process was given of its parent's sentinel.
#[derive(Debug)]
pub(crate) struct SlotObserver {
    slot: MappedSlot,
    link: u32,
}

impl SlotObserver {
    pub(super) fn new(slot: MappedSlot, link: u32) -> SlotObserver {
        SlotObserver { slot, link }
    }

    /// Whether the parent died while it held the word.
    pub(crate) fn parent_died(&self) -> bool {
        self.slot.state(self.link) == SlotState::OwnerDied
    }

    /// Whether it can still say anything.
    pub(crate) fn is_attached(&self) -> bool {
        self.slot.state(self.link) != SlotState::Detached
    }

    /// Sleeps until the parent has died; `false` when the word has nothing more to say, the kernel
    /// lets nobody sleep on it, or `goes_on` no longer does.
    pub(super) fn wait(&self, goes_on: impl Fn() -> bool) -> bool {
        while goes_on() {
            match self.slot.state(self.link) {
                SlotState::Owned(word) => {
                    if self.slot.sleep(word).is_err() {
                        return false;
                    }
                }
                said => {
                    // The kernel wakes one sleeper of a word. Others may be there: a copy of this
                    // process made by fork; and if the word is another link's by now, that link's
                    // child.
                    self.slot.wake();
                    return said == SlotState::OwnerDied;
                }
            }
        }
        false
    }

    /// Wakes whoever sleeps on the word.
    pub(super) fn wake(&self) {
        self.slot.wake();
    }
}
