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

/// The longest sleep that [`Cancel::sleeps`] asks for at once.
const PIECE: Duration = Duration::from_secs(3600);
/// The same if only an uninterruptible sleep is left. A cancel may be noticed this much later.
const BLIND_PIECE: Duration = Duration::from_millis(50);

/// A futex for threads that only sleep, and an eventfd for a thread that also polls something else.
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

    /// Wakes all. An error means that a waiting thread may not have been woken.
    pub(crate) fn set(&self) -> io::Result<()> {
        let woken = self.set_for_sleepers();
        // The counter goes up by one, at most twice, so neither EAGAIN nor EINTR can occur.
        rustix::io::write(&self.event, &1_u64.to_ne_bytes())?;
        woken
    }

    /// The same if no thread polls: without write(2).
    pub(crate) fn set_for_sleepers(&self) -> io::Result<()> {
        // Release: pairs with the Acquire in `is_set`. What was done before the cancel, such as
        // acting on a verdict, happens before what a thread does after it finds the cancel.
        self.state.store(CANCELLED, Ordering::Release);
        futex::wake(&self.state, Flags::PRIVATE, i32::MAX.unsigned_abs())?;
        Ok(())
    }

    /// Sleeps for `length`, and not less unless it is cancelled. Returns whether it is. Returns an
    /// error at once if no call lets the thread sleep.
    ///
    /// It needs no descriptor, because other code in the process may have closed it. If futex(2) is
    /// refused, it sleeps by `clock_nanosleep`. If the clock cannot be read, each interruption
    /// restarts the current piece.
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

    /// `Ok(false)` if it woke early.
    fn sleep_piece(&self, piece: Duration) -> io::Result<bool> {
        let piece = Timespec::try_from(piece).map_err(|_| Errno::INVAL)?;
        match futex::wait(&self.state, Flags::PRIVATE, ON, Some(&piece)) {
            Ok(()) | Err(Errno::AGAIN | Errno::INTR) => Ok(false),
            Err(Errno::TIMEDOUT) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

/// Readable once cancelled.
impl AsFd for Cancel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
