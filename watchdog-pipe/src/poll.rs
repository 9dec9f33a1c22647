//! poll(2) with a deadline.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::io::Errno;

use crate::sys;

/// A time on the monotonic clock; `None`: never.
pub(crate) type Deadline = Option<Duration>;

/// The time that is `timeout` from now. `None` if that is past the end of the clock.
pub(crate) fn deadline_in(timeout: Duration) -> io::Result<Deadline> {
    Ok(sys::now()?.checked_add(timeout))
}

/// Waits until one of `fds` is ready or the deadline has passed. Returns whether one is ready.
///
/// # References
/// [poll(2)](https://man7.org/linux/man-pages/man2/poll.2.html): `EINTR` comes even with
/// `SA_RESTART`, and a timeout is never cut short.
pub(crate) fn until<const N: usize>(
    fds: [BorrowedFd<'_>; N],
    deadline: Deadline,
) -> io::Result<bool> {
    loop {
        let left = match deadline {
            None => None,
            Some(deadline) => Some(deadline.saturating_sub(sys::now()?)),
        };
        match sys::poll(fds, left.map_or(-1, milliseconds)) {
            // A number that is not open says nothing about a death.
            Ok(ready) if ready.iter().any(|events| events & libc::POLLNVAL != 0) => {
                return Err(Errno::BADF.into());
            }
            Ok(ready) if ready.iter().any(|events| *events != 0) => return Ok(true),
            // One call may wait for less than the time left.
            Ok(_) if left.is_some_and(|left| left > LONGEST) => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The longest timeout that poll(2) takes.
const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);

/// Rounded up, so that the wait never ends early.
fn milliseconds(left: Duration) -> i32 {
    let whole = left.as_nanos().div_ceil(1_000_000);
    i32::try_from(whole).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_rounded_up_and_never_negative() {
        let rounded = [0, 1, 999_999, 1_000_000, 1_000_001].map(Duration::from_nanos);
        assert_eq!(rounded.map(milliseconds), [0, 1, 1, 1, 2]);
        assert_eq!(milliseconds(LONGEST), i32::MAX);
        assert_eq!(milliseconds(Duration::MAX), i32::MAX);
    }
}
