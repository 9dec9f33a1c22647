//! Sleeping, and the clock.

use std::mem::MaybeUninit;
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::{Timespec, nanosleep};

use super::last_errno;

/// Sleeps for `length`, or less: a signal ends it, and where a filter refuses it comes back at
/// once. std's sleep panics there.
pub(crate) fn nap(length: Duration) {
    if let Ok(length) = Timespec::try_from(length) {
        let _ = nanosleep(&length);
    }
}

/// What the monotonic clock shows. std's `Instant` panics where a filter refuses.
pub(crate) fn monotonic() -> Result<Duration, Errno> {
    let mut now = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: there is room for what is written.
    if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, now.as_mut_ptr()) } != 0 {
        return Err(last_errno());
    }
    // SAFETY: the call succeeded and has filled it in.
    let now = unsafe { now.assume_init() };
    let seconds = u64::try_from(now.tv_sec).map_err(|_| Errno::INVAL)?;
    let nanoseconds = u32::try_from(now.tv_nsec).map_err(|_| Errno::INVAL)?;
    Ok(Duration::new(seconds, nanoseconds))
}
