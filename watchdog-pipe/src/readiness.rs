//! One descriptor that becomes readable with the verdict, and stays so.
//!
//! The pipe alone cannot be that descriptor: a word must be read to be understood, and after that
//! the pipe is quiet again until the last write end closes, which a process that forked and never
//! exec'd can put off for ever. An epoll instance over the pipe and an eventfd that is written at
//! the verdict is readable for as long as either is. The sentinel's word is no descriptor at all: a
//! thread that sleeps on it writes the eventfd.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, PollFd, PollFlags, epoll, eventfd};

#[derive(Debug)]
pub(crate) struct Readiness {
    epoll: OwnedFd,
    latch: OwnedFd,
    /// Somebody has asked for the descriptor, and may wait for it since.
    asked: AtomicBool,
    /// There is a verdict.
    settled: AtomicBool,
}

impl Readiness {
    pub(crate) fn new() -> io::Result<Readiness> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let latch = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let readable = epoll::EventFlags::IN;
        epoll::add(&epoll, &latch, epoll::EventData::new_u64(0), readable)?;
        Ok(Readiness {
            epoll,
            latch,
            asked: AtomicBool::new(false),
            settled: AtomicBool::new(false),
        })
    }

    /// Makes what happens on the pipe wake the descriptor.
    pub(crate) fn watch(&self, pipe: &OwnedFd) -> io::Result<()> {
        let readable = epoll::EventFlags::IN;
        Ok(epoll::add(
            &self.epoll,
            pipe,
            epoll::EventData::new_u64(1),
            readable,
        )?)
    }

    /// Readable once [`Readiness::latch`] was called.
    pub(crate) fn latch_fd(&self) -> PollFd<'_> {
        PollFd::new(&self.latch, PollFlags::IN)
    }

    /// There is a verdict: readable from now on. Who only waits for the verdict is not kept waiting
    /// for a system call more. The caller has the watchdog for itself (`&mut`): never at the same
    /// time as `as_fd`.
    pub(crate) fn settle(&self) {
        // Relaxed: whatever gives the watchdog to one thread after the other orders this and
        // `as_fd`.
        self.settled.store(true, Ordering::Relaxed);
        if self.asked.load(Ordering::Relaxed) {
            self.latch();
        }
    }

    /// Readable from now on.
    pub(crate) fn latch(&self) {
        // The counter goes from 0 to 1, or to 2: neither EAGAIN nor EINTR can come of that.
        let _ = rustix::io::write(&self.latch, &1_u64.to_ne_bytes());
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // Relaxed: threads that ask at the same time exchange this flag alone, and one of them is
        // the first. See `settle` for the other one.
        let first = !self.asked.swap(true, Ordering::Relaxed);
        if first && self.settled.load(Ordering::Relaxed) {
            self.latch();
        }
        self.epoll.as_fd()
    }
}
