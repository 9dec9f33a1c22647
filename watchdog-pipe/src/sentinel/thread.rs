//! One sentinel: its page, and the thread that it is.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::slot::Slot;
use super::sys::{self, RobustList, SLOTS, Words};

/// Below the kernel's usual 1.4 ms and more, so that on a busy CPU its end comes early; and far
/// above the listener's 0.1 ms, so that it does not keep the CPU from whom it wakes.
const SLICE: Duration = Duration::from_millis(1);

/// Lives as long as its process: nothing but [`Sentinel::end`] ends the thread alone.
#[derive(Debug)]
pub(super) struct Sentinel {
    pub(super) words: &'static [Slot; SLOTS],
    pub(super) memfd: Arc<OwnedFd>,
    pub(super) device: u64,
    pub(super) inode: u64,
    /// The thread's id in its PID namespace, which is what the kernel compares a word with.
    pub(super) thread: u32,
    /// The one that was started before this one.
    pub(super) before: Option<&'static Sentinel>,
    ended: AtomicBool,
}

impl Sentinel {
    /// Fails without a trace where anything that it needs is not there. If the thread has to end
    /// before the process does, it calls `over` with its id.
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

    /// Takes every word out of the reach of a thread that is about to end, so that its end is no
    /// death. Nobody may give it a word meanwhile, or afterwards.
    pub(super) fn end(&self) {
        // The lock of all sentinels is held here, and by whoever would give a word to the thread:
        // that is what keeps the words let go. The flag alone is also asked without the lock, by
        // whoever wants to know what is promised. Release, for the Acquire in `has_ended`, though
        // nothing but the flag is read by that.
        self.ended.store(true, Ordering::Release);
        for slot in self.words {
            slot.let_go(self.thread);
        }
    }

    /// Marks every word that the thread owns, and wakes who sleeps on them. Async-signal-safe.
    pub(super) fn announce(&self) {
        // All are marked before the first is woken, who may take the CPU from this thread.
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
