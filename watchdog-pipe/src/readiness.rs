//! One descriptor that becomes readable with the verdict, and stays readable.
//!
//! The pipe cannot be that descriptor. A word must be read to be understood. After that, the pipe
//! is quiet again until the last write end closes, and a process that forked and never exec'd can
//! keep one open for ever. So the descriptor is an epoll instance over the pipe and an eventfd. It
//! is readable as long as either of them is. The eventfd is written when there is a verdict. The
//! sentinel's word is no descriptor, so a thread that sleeps on it writes the eventfd.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, PollFd, PollFlags, epoll, eventfd};

#[derive(Debug)]
pub(crate) struct Readiness {
    epoll: OwnedFd,
    latch: OwnedFd,
    /// Somebody has asked for the descriptor, and may be waiting for it.
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

    /// Adds the pipe: data or end of file on it makes the descriptor readable.
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

    /// There is a verdict: the descriptor is readable from now on. If nobody has asked for the
    /// descriptor, this saves the system call. The caller has exclusive access to the watchdog
    /// (`&mut`), so this never runs at the same time as `as_fd`.
    pub(crate) fn settle(&self) {
        // Relaxed: whatever passes the watchdog from one thread to another orders this and `as_fd`.
        self.settled.store(true, Ordering::Relaxed);
        if self.asked.load(Ordering::Relaxed) {
            self.latch();
        }
    }

    /// Makes the descriptor readable from now on.
    pub(crate) fn latch(&self) {
        // The counter goes from 0 to 1, or to 2, so neither EAGAIN nor EINTR can occur.
        let _ = rustix::io::write(&self.latch, &1_u64.to_ne_bytes());
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // Relaxed: threads that ask at the same time exchange only this flag, and one of them is
        // the first. For `settled`, see `settle`.
        let first = !self.asked.swap(true, Ordering::Relaxed);
        if first && self.settled.load(Ordering::Relaxed) {
            self.latch();
        }
        self.epoll.as_fd()
    }
}
