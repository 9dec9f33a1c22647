//! The child's side: looks at one word of the parent's sentinel.

use super::slot::SlotState;
use super::sys::MappedSlot;

/// What this process got of its parent's sentinel.
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

    /// Whether the word can still report a death.
    pub(crate) fn is_attached(&self) -> bool {
        self.slot.state(self.link) != SlotState::Detached
    }

    /// Sleeps until the parent has died. Returns `false` if the word can report nothing any more,
    /// if the kernel lets nobody sleep on it, or when `goes_on` returns `false`.
    pub(super) fn wait(&self, goes_on: impl Fn() -> bool) -> bool {
        while goes_on() {
            match self.slot.state(self.link) {
                SlotState::Owned(word) => {
                    if self.slot.sleep(word).is_err() {
                        return false;
                    }
                }
                said => {
                    // The kernel wakes only one sleeper of a word. There may be others: a copy of
                    // this process made by fork, or the child of the next link, if the slot belongs
                    // to another link by now.
                    self.slot.wake();
                    return said == SlotState::OwnerDied;
                }
            }
        }
        false
    }

    /// Wakes all that sleep on the word.
    pub(super) fn wake(&self) {
        self.slot.wake();
    }
}
