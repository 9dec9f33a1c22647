//! Waiting for a pidfd to become readable, which is the exit of its process.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// When to give up.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    /// Never.
    Exit,
    /// At this instant of the monotonic clock; in the past means: look once.
    Deadline(Instant),
}

impl Until {
    /// `timeout` from now; one too long for the clock is no limit at all.
    pub(crate) fn after(timeout: Duration) -> Until {
        Instant::now()
            .checked_add(timeout)
            .map_or(Until::Exit, Until::Deadline)
    }

    fn timeout(self) -> Option<Timespec> {
        match self {
            Until::Exit => None,
            Until::Deadline(at) => {
                Timespec::try_from(at.saturating_duration_since(Instant::now())).ok()
            }
        }
    }
}

/// Whether the process has exited, waiting for it no longer than `until`.
pub(crate) fn exited(pidfd: BorrowedFd<'_>, until: Until) -> Result<bool, Errno> {
    let mut fds = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
    loop {
        // poll returns EINTR even when the handler was installed with SA_RESTART: signal(7).
        match poll(&mut fds, until.timeout().as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    // A zombie is IN, a reaped process IN | HUP. NVAL or ERR alone is no death: somebody closed the
    // number under us, or it is an O_PATH descriptor.
    if fds[0].revents().intersects(PollFlags::IN | PollFlags::HUP) {
        Ok(true)
    } else {
        Err(Errno::BADF)
    }
}
