//! Whether a protection was cancelled, and the waits that a cancel ends.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::futex::{self, Flags, Timespec};

use crate::sys;

const ON: u32 = 0;
const CANCELLED: u32 = 1;

/// What [`Cancel::sleeps`] sleeps at once at most.
const PIECE: Duration = Duration::from_secs(3600);
/// The same where only an uninterruptible sleep is left: so late may a cancel be noticed.
const BLIND_PIECE: Duration = Duration::from_millis(50);

/// A futex for who only sleeps, and an eventfd for who polls something else too.
#[derive(Debug)]
pub(crate) struct Cancel {
    state: AtomicU32,
    event: OwnedFd,
}

impl Cancel {
    pub(crate) fn new(event: OwnedFd) -> Cancel {
        Cancel {
            state: AtomicU32::new(ON),
            event,
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.state.load(Ordering::Acquire) == CANCELLED
    }

    /// For all. An error: somebody who waits may not have been woken.
    pub(crate) fn set(&self) -> io::Result<()> {
        let woken = self.set_for_sleepers();
        // The counter goes up by one, twice at most: neither EAGAIN nor EINTR can come of that.
        rustix::io::write(&self.event, &1_u64.to_ne_bytes())?;
        woken
    }

    /// The same where nobody polls: without write(2).
    pub(crate) fn set_for_sleepers(&self) -> io::Result<()> {
        // Release, for the Acquire in `is_set`: what was done before the cancel, such as the act on
        // a verdict, happens before what follows in a thread that finds it cancelled.
        self.state.store(CANCELLED, Ordering::Release);
        futex::wake(&self.state, Flags::PRIVATE, i32::MAX.unsigned_abs())?;
        Ok(())
    }

    /// Sleeps for `length`, and never less unless it is cancelled, which is the answer. An error,
    /// at once, where the kernel lets nobody sleep.
    ///
    /// It needs no descriptor, which somebody else in the process may have closed. Where futex(2)
    /// is refused, it sleeps by `clock_nanosleep`; where the clock cannot be read, each
    /// interruption begins the present piece anew.
    pub(crate) fn sleeps(&self, length: Duration) -> io::Result<bool> {
        let end = sys::now().ok().and_then(|now| now.checked_add(length));
        let (mut left, mut blind) = (length, false);
        while !left.is_zero() && !self.is_set() {
            let piece = left.min(if blind { BLIND_PIECE } else { PIECE });
            let slept = if blind {
                sys::sleep(piece)?
            } else if let Ok(slept) = self.sleep_piece(piece) {
                slept
            } else {
                blind = true;
                continue;
            };
            left = match (sys::now(), end) {
                (Ok(now), Some(end)) => end.saturating_sub(now),
                _ if slept => left.saturating_sub(piece),
                _ => left,
            };
        }
        Ok(self.is_set())
    }

    /// `Ok(false)` when it woke early.
    fn sleep_piece(&self, piece: Duration) -> io::Result<bool> {
        let piece = Timespec::try_from(piece).map_err(|_| Errno::INVAL)?;
        match futex::wait(&self.state, Flags::PRIVATE, ON, Some(&piece)) {
            Ok(()) | Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(Errno::TIMEDOUT) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

/// Readable once it was cancelled.
impl AsFd for Cancel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
