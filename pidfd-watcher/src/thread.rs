//! The dispatch thread of a watcher.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use rustix::io::Errno;

use crate::contain::discard;
use crate::poller::Poller;
use crate::registry::{Caller, Close};
use crate::shared::Shared;
use crate::sys::{self, BlockedSignals, RawThread};
use crate::{Error, child, poll, waiting};

/// The dispatch thread, as its creator sees it.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    thread: RawThread,
    /// The kernel's number of the thread, or a negative errno if the kernel does not tell it. Zero
    /// until it runs.
    tid: Arc<AtomicI32>,
}

/// How long the kernel may take to remove a thread that has ended. A tracer can hold it for ever.
const LAST_BREATH: Duration = Duration::from_secs(5);

/// Bytes for the frames of callbacks: as much as std gives to its threads.
const STACK: usize = 2 << 20;

impl Dispatcher {
    pub(crate) fn start(shared: Arc<Shared>, poller: Arc<Poller>) -> Result<Dispatcher, Error> {
        let tid = Arc::new(AtomicI32::new(0));
        let tell = Arc::clone(&tid);
        // The thread inherits the mask: no handler of the program ever runs on it.
        let _blocked = BlockedSignals::all().map_err(Error::of_call)?;
        let main = move || {
            let tid = sys::gettid().unwrap_or_else(|errno| -errno.raw_os_error());
            // Relaxed: `join` reads it after the thread has ended, and everything that a thread
            // did happens before its join returns.
            tell.store(tid, Ordering::Relaxed);
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| run(&shared, &poller))) {
                discard(payload);
            }
        };
        RawThread::start(c"pidfd-watcher", STACK, Box::new(main))
            .map(|thread| Dispatcher { thread, tid })
            .map_err(Error::of_clone)
    }

    /// Waits until the thread has ended, and until the kernel does not count it any more.
    ///
    /// These are two different moments: `pthread_join` returns when the thread gives its memory
    /// back, and it leaves the process a little later. In between, `unshare(CLONE_NEWUSER)` would
    /// still fail.
    ///
    /// `ETIMEDOUT`: a tracer holds the thread.
    pub(crate) fn join(self) -> Result<(), Errno> {
        self.thread.join()?;
        let tid = self.tid.load(Ordering::Relaxed);
        if tid < 0 {
            return Err(Errno::from_raw_os_error(-tid));
        }
        let deadline = sys::monotonic()?.saturating_add(LAST_BREATH);
        while sys::thread_exists(tid)? {
            if sys::monotonic()? > deadline {
                return Err(Errno::TIMEDOUT);
            }
            poll::pause(Duration::from_micros(50))?;
        }
        Ok(())
    }
}

fn run(shared: &Shared, poller: &Poller) {
    waiting::never_from_here_on();
    let mut events = Vec::new();
    while !shared.registry.is_finished() {
        if shared.turn(poller, &mut events, None).is_err() {
            // Waiting was tried when the watcher was made. If it is refused now, no exit will ever
            // be reported: tell all that wait.
            let containment = &shared.containment;
            shared
                .registry
                .close(Close::AndReap, Some(poller), containment);
            if containment.is_copy() {
                child::end_copy();
            }
            shared.timers.close();
            return;
        }
    }
}
