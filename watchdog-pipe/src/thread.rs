//! The threads that this crate starts in a child.

use std::ffi::CStr;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::thread::futex::{self, Flags, Timespec};

use crate::status::Extras;
use crate::sys::{self, BlockedSignals, ForkGeneration, RawThread};

/// How to start a thread.
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
    /// `None`: the thread has ended already, or this value is being dropped.
    raw: Option<RawThread>,
    generation: ForkGeneration,
}

/// A thread that was created, and may not have started yet.
#[derive(Debug)]
#[must_use = "neither joined nor detached yet"]
pub(crate) struct Starting {
    raw: RawThread,
    started: Arc<AtomicU32>,
    generation: ForkGeneration,
}

impl Thread {
    /// Every signal is blocked in the thread, by the thread that creates it: so it can never run a
    /// handler of the program. The exceptions are the two signals that the C library keeps for
    /// itself, for example to reach every thread in setuid(2). Only the C library's own handlers
    /// run on those.
    ///
    /// Nothing in the thread allocates or frees memory before `main` does: see
    /// [`RawThread::start`].
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
                // Release: pairs with the Acquire in `wait_for_start`. The calls above happen
                // before `Starting::wait` returns. Without it, a filter that is installed then
                // could still catch them.
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

    /// Waits for the thread to end. Does not wait in a copy made by fork, which has no such thread.
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
    /// Returns when the thread has started. From then on a filter may refuse the calls that a
    /// thread makes at its start. It is an error if a filter kills the thread while it starts.
    pub(crate) fn wait(self) -> io::Result<Thread> {
        Ok(Thread {
            raw: wait_for_start(self.raw, &self.started)?,
            generation: self.generation,
        })
    }
}

/// Waits until the thread has started. `None`: it has ended since.
fn wait_for_start(mut thread: RawThread, started: &AtomicU32) -> io::Result<Option<RawThread>> {
    let a_moment = Timespec {
        tv_sec: 0,
        tv_nsec: 10_000_000,
    };
    loop {
        if started.load(Ordering::Acquire) != 0 {
            return Ok(Some(thread));
        }
        // If the wait is refused, this loop spins for as long as the thread takes to start.
        let _ = futex::wait(started, Flags::PRIVATE, 0, Some(&a_moment));
        match thread.join_if_ended() {
            Err(runs) => thread = runs,
            Ok(()) if started.load(Ordering::Acquire) != 0 => return Ok(None),
            Ok(()) => return Err(io::Error::other("a thread was killed at its start")),
        }
    }
}
