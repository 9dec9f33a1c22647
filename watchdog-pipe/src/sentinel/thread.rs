//! One sentinel: its page and its thread.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::slot::Slot;
use super::sys::{self, RobustList, SLOTS, Words};

/// Shorter than the kernel's usual 1.4 ms or more, so that on a busy CPU the thread gets its turn
/// to exit early. Much longer than the listener's 0.1 ms, so that it does not keep the CPU from the
/// thread that it wakes.
const SLICE: Duration = Duration::from_millis(1);

/// Lives as long as its process. The thread ends alone only after [`Sentinel::end`].
#[derive(Debug)]
pub(super) struct Sentinel {
    pub(super) words: &'static [Slot; SLOTS],
    pub(super) memfd: Arc<OwnedFd>,
    pub(super) device: u64,
    pub(super) inode: u64,
    /// The thread's id in its PID namespace. The kernel compares words with it.
    pub(super) thread: u32,
    /// The one that was started before this one.
    pub(super) before: Option<&'static Sentinel>,
    ended: AtomicBool,
}

impl Sentinel {
    /// On an error nothing is left behind. If the thread has to end before the process does, it
    /// calls `over` with its id.
    pub(super) fn start<T: Sync>(
        before: Option<&'static Sentinel>,
        keeper: &'static T,
        over: fn(&'static T, u32),
    ) -> io::Result<Sentinel> {
        let (memfd, words) = Words::new()?;
        let page = crate::sys::inspect(crate::sys::number(&memfd))?;
        let list = RobustList::of(&words)?;
        let thread = sys::start_thread(list, SLICE, keeper, over)?;
        Ok(Sentinel {
            words: words.leak(),
            memfd: Arc::new(memfd),
            device: page.device,
            inode: page.inode,
            thread,
            before,
            ended: AtomicBool::new(false),
        })
    }

    /// Takes every word out of the reach of a thread that is about to end, so that the kernel
    /// reports no death at its end. Nobody may give the thread a word during this call, or
    /// afterwards.
    pub(super) fn end(&self) {
        // The caller has the lock of all sentinels. A caller that gives the thread a word has it
        // too. That keeps the words out of its reach. Only the flag is also read without the lock,
        // to tell what is guaranteed. Release: pairs with the Acquire in `has_ended`, though that
        // reads only the flag.
        self.ended.store(true, Ordering::Release);
        for slot in self.words {
            slot.let_go(self.thread);
        }
    }

    /// Marks every word that the thread owns, and wakes all that sleep on them. Async-signal-safe.
    pub(super) fn announce(&self) {
        // All words are marked first: a sleeper that is woken may take the CPU from this thread.
        for slot in self.words {
            slot.announce(self.thread);
        }
        for slot in self.words.iter().filter(|slot| slot.is_announced()) {
            slot.wake();
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}
