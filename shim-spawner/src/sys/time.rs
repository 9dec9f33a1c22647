//! Sleep, and the clock.

use std::mem::MaybeUninit;
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::{Timespec, nanosleep};

use super::last_errno;

/// Sleeps for `length` or less: a signal ends it. If a filter refuses the call, it returns at once;
/// std's sleep panics then.
pub(crate) fn nap(length: Duration) {
    if let Ok(length) = Timespec::try_from(length) {
        let _ = nanosleep(&length);
    }
}

/// The time of the monotonic clock. std's `Instant` panics if a filter refuses the call.
pub(crate) fn monotonic() -> Result<Duration, Errno> {
    let mut now = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: `now` has room for what the call writes.
    if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, now.as_mut_ptr()) } != 0 {
        return Err(last_errno());
    }
    // SAFETY: the call succeeded, so it has filled `now`.
    let now = unsafe { now.assume_init() };
    let seconds = u64::try_from(now.tv_sec).map_err(|_| Errno::INVAL)?;
    let nanoseconds = u32::try_from(now.tv_nsec).map_err(|_| Errno::INVAL)?;
    Ok(Duration::new(seconds, nanoseconds))
}
