//! Waits for a pidfd to become readable: that means its process has exited.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::sys;

/// When to stop waiting.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// Never.
    Exit,
    /// At once.
    Now,
    /// When the monotonic clock shows this time.
    Deadline(Duration),
}

impl Until {
    /// `timeout` from now. If that is too long for the clock, there is no limit.
    pub(crate) fn after(timeout: Duration) -> Result<Until, Errno> {
        if timeout.is_zero() {
            return Ok(Until::Now);
        }
        let deadline = sys::monotonic()?.checked_add(timeout);
        Ok(deadline.map_or(Until::Exit, Until::Deadline))
    }

    fn timeout(self) -> Result<Option<Timespec>, Errno> {
        Ok(match self {
            Until::Exit => None,
            Until::Now => Some(Timespec::default()),
            Until::Deadline(at) => Timespec::try_from(at.saturating_sub(sys::monotonic()?)).ok(),
        })
    }
}

/// Returns whether the process has exited, after waiting for it at most `until` then.
pub(crate) fn exited(pidfd: BorrowedFd<'_>, until: Until) -> Result<bool, Errno> {
    let mut fds = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
    loop {
        // poll returns EINTR even when the handler was installed with SA_RESTART: signal(7).
        match poll(&mut fds, until.timeout()?.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    // A zombie is IN, a reaped process IN | HUP. NVAL or ERR alone is no exit: somebody closed the
    // number, or it is an O_PATH descriptor.
    if fds[0].revents().intersects(PollFlags::IN | PollFlags::HUP) {
        Ok(true)
    } else {
        Err(Errno::BADF)
    }
}

/// Sleeps, by the same call that the rest of the crate uses to wait. std's sleep panics if a filter
/// refuses its call.
pub(crate) fn pause(length: Duration) -> Result<(), Errno> {
    match poll(&mut [], Timespec::try_from(length).ok().as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno),
    }
}
