//! The parent's side: a word that belongs to a link.

use std::fmt;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;

use super::address::Address;
use super::sentinels::Sentinels;
use super::slot::Slot;
use super::thread::Sentinel;
use crate::sys::ForkGeneration;

/// A word that belongs to one link as long as this value lives.
pub(crate) struct SlotLease {
    sentinels: &'static Sentinels,
    sentinel: &'static Sentinel,
    index: usize,
    link: u32,
}

/// Does not show the sentinel, which has thousands of words.
impl fmt::Debug for SlotLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotLease")
            .field("index", &self.index)
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

impl SlotLease {
    /// `None`: the link has to use the pipe alone.
    pub(crate) fn take(generation: ForkGeneration) -> Option<SlotLease> {
        let sentinels = Sentinels::of(generation);
        let mut state = sentinels.lock();
        let (sentinel, index) = state.slot(sentinels)?;
        let slot = &sentinel.words[index];
        let link = slot.take(sentinel.thread);
        drop(state);
        if link > 1 {
            // A child of an earlier link may still sleep here. The kernel would wake it instead of
            // this link's child.
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
        // In a copy made by fork the words are not mapped.
        (self.sentinels.generation.is_current()).then(|| &self.sentinel.words[self.index])
    }

    /// From here on only the pipe can report a death to the child. `false`: the death of this
    /// process was announced to it before.
    pub(crate) fn let_go(&self) -> bool {
        self.slot()
            .is_none_or(|slot| slot.let_go(self.sentinel.thread))
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

    /// Whether the sentinel's thread still runs, and so reports a death by this word.
    pub(crate) fn stands(&self) -> bool {
        !self.sentinel.has_ended()
    }

    /// The page for the child.
    pub(crate) fn page(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.sentinel.memfd)
    }

    /// Where the child finds the word, if it has the page on the number `fd`.
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
