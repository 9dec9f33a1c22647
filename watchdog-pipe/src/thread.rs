//! The threads of this crate in a child.

use std::ffi::CStr;
use std::io;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use crate::home::Home;
use crate::status::Extras;
use crate::sys::{self, BlockedSignals, RawThread};

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
    /// `None` only while it goes.
    raw: Option<RawThread>,
    home: Home,
}

impl Thread {
    /// Every signal is blocked in it, by who creates it: at no instant can it run a handler of the program's. (But the two
    /// that the C library keeps for itself, to tell every thread of a setuid(2), for one. Only its own handlers run on those.)
    ///
    /// Returns when the thread has started. What a filter must allow for that may be refused from then on.
    pub(crate) fn start(
        start: Start,
        home: Home,
        main: impl FnOnce() + Send + 'static,
    ) -> io::Result<Thread> {
        let started = Arc::new(Barrier::new(2));
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
                theirs.wait();
                drop(theirs);
                main();
            }),
        )?;
        drop(blocked);
        started.wait();
        let raw = Some(raw);
        Ok(Thread { raw, home })
    }

    /// Waits for the end. Not in a copy made by fork, which has no such thread.
    pub(crate) fn join(mut self) {
        if self.home.is_here()
            && let Some(raw) = self.raw.take()
        {
            raw.join();
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if self.home.is_here()
            && let Some(raw) = self.raw.take()
        {
            raw.detach();
        }
    }
}
