//! One sentinel, and the thread that it is.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use super::slot::Slot;
use super::sys::{self, RobustList, SLOTS, Words};
use crate::sys::BlockedSignals;

/// Rounded up to the least that the C library gives; there is a guard page below it.
const STACK: usize = 16 * 1024;

/// Below the kernel's usual 1.4 ms and more, so that on a busy CPU its end comes early; and far above the listener's 0.1
/// ms, so that it does not keep the CPU from whom it wakes.
const SLICE: Duration = Duration::from_millis(1);

/// Lives as long as its process: nothing can end the thread alone.
#[derive(Debug)]
pub(super) struct Sentinel {
    pub(super) words: &'static [Slot; SLOTS],
    pub(super) memfd: Arc<OwnedFd>,
    pub(super) device: u64,
    pub(super) inode: u64,
    /// The thread's id in its PID namespace, which is what the kernel compares a word with.
    pub(super) thread: u32,
}

impl Sentinel {
    /// Fails without a trace where anything that it needs is not there.
    pub(super) fn start() -> io::Result<Sentinel> {
        let (memfd, words) = Words::new()?;
        let stat = rustix::fs::fstat(&memfd)?;
        let list = RobustList::of(&words)?;
        let (registered, answer) = sync_channel(1);
        let sentinel = thread::Builder::new()
            .name("watchdog-sentinel".into())
            .stack_size(STACK);
        // The thread inherits the mask: no handler of the program's ever runs on its small stack.
        let blocked = BlockedSignals::all()?;
        sentinel.spawn(move || {
            let id = rustix::thread::gettid().as_raw_nonzero().get();
            let done = list.register().map(|()| id.unsigned_abs());
            sys::ask_for_slices(SLICE);
            let parked = done.is_ok();
            let _ = registered.send(done);
            drop(registered);
            if parked {
                // What the scheduler owes a thread that goes to sleep is kept for it until it wakes, and would let it
                // run on ahead of whom it wakes. A yield forfeits that on the kernels that see to it, and costs nothing on others.
                rustix::thread::sched_yield();
                sys::park_for_ever();
            }
        })?;
        drop(blocked);
        // Nothing is lost in an Err: the thread had nobody to tell, so that it never registered.
        let thread = answer.recv().map_err(io::Error::other)??;
        Ok(Sentinel {
            words: words.leak(),
            memfd: Arc::new(memfd),
            device: stat.st_dev,
            inode: stat.st_ino,
            thread,
        })
    }
}
