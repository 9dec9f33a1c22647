//! The threads of this crate in a child.

use std::ffi::CStr;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::thread::futex::{self, Flags, Timespec};

use crate::status::Extras;
use crate::sys::{self, BlockedSignals, ForkGeneration, RawThread};

/// How a thread starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub(crate) name: &'static CStr,
    /// Bytes for its own frames.
    pub(crate) stack: usize,
    pub(crate) slice: Option<Duration>,
    pub(crate) extras: Extras,
}

/// A running thread. Dropping the value lets it run.
#[derive(Debug)]
pub(crate) struct Thread {
    /// `None`: it has ended already, or the value is on its way out.
    raw: Option<RawThread>,
    generation: ForkGeneration,
}

/// A thread that was made, and may not have started yet.
#[derive(Debug)]
#[must_use = "neither joined nor detached yet"]
pub(crate) struct Starting {
    raw: RawThread,
    started: Arc<AtomicU32>,
    generation: ForkGeneration,
}

impl Thread {
    /// Every signal is blocked in it, by who creates it: at no instant can it run a handler of the
    /// program's. (But the two that the C library keeps for itself, to tell every thread of a
    /// setuid(2), for one. Only its own handlers run on those.)
    ///
    /// Nothing in it takes memory or gives it back before `main` does: see [`RawThread::start`].
    pub(crate) fn begin(
        start: Start,
        generation: ForkGeneration,
        main: impl FnOnce() + Send + 'static,
    ) -> io::Result<Starting> {
        let started = Arc::new(AtomicU32::new(0));
        let theirs = Arc::clone(&started);
        let blocked = BlockedSignals::all()?;
        let raw = RawThread::start(
            start.stack,
            Box::new(move || {
                if start.extras.names {
                    sys::name_this_thread(start.name);
                }
                if let Some(slice) = start.slice.filter(|_| start.extras.slices) {
                    sys::ask_for_slices(slice);
                }
                // Release, for the Acquire in `Starting::wait`: the calls above happen before that
                // returns. Without it, a filter that is installed then could still meet them.
                theirs.store(1, Ordering::Release);
                let _ = futex::wake(&theirs, Flags::PRIVATE, 1);
                main();
            }),
        )?;
        drop(blocked);
        Ok(Starting {
            raw,
            started,
            generation,
        })
    }

    /// Waits for the end. Not in a copy made by fork, which has no such thread.
    pub(crate) fn join(mut self) {
        if self.generation.is_current()
            && let Some(raw) = self.raw.take()
        {
            raw.join();
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if self.generation.is_current()
            && let Some(raw) = self.raw.take()
        {
            raw.detach();
        }
    }
}

impl Starting {
    /// Returns when the thread has started. What a filter must allow for that may be refused from
    /// then on. One that a filter kills on its way is an error.
    pub(crate) fn wait(self) -> io::Result<Thread> {
        Ok(Thread {
            raw: wait_for_start(self.raw, &self.started)?,
            generation: self.generation,
        })
    }
}

/// `None`: it has ended since.
fn wait_for_start(mut thread: RawThread, started: &AtomicU32) -> io::Result<Option<RawThread>> {
    let a_moment = Timespec {
        tv_sec: 0,
        tv_nsec: 10_000_000,
    };
    loop {
        if started.load(Ordering::Acquire) != 0 {
            return Ok(Some(thread));
        }
        // A wait that is refused makes this loop busy, for as long as the thread takes to start.
        let _ = futex::wait(started, Flags::PRIVATE, 0, Some(&a_moment));
        match thread.join_if_ended() {
            Err(runs) => thread = runs,
            Ok(()) if started.load(Ordering::Acquire) != 0 => return Ok(None),
            Ok(()) => return Err(io::Error::other("a thread was killed at its start")),
        }
    }
}
