//! poll(2) under a deadline.

use std::io;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

/// Waits until one of `fds` is ready, or the deadline (monotonic clock; `None`: for ever) has passed.
/// Whether one is.
///
/// # References
/// [poll(2)](https://man7.org/linux/man-pages/man2/poll.2.html): `EINTR` comes even with `SA_RESTART`, and a
/// timeout is never cut short.
pub(crate) fn until(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> io::Result<bool> {
    loop {
        let timeout = deadline.and_then(|deadline| {
            Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok()
        });
        match rustix::event::poll(fds, timeout.as_ref()) {
            Ok(0) => return Ok(false),
            // A number that is not open is no news of anybody's death.
            Ok(_) if fds.iter().any(|fd| fd.revents().contains(PollFlags::NVAL)) => {
                return Err(Errno::BADF.into());
            }
            Ok(_) => return Ok(true),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
