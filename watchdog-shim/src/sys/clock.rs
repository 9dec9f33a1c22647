//! The monotonic clock.

use std::io;
use std::mem::MaybeUninit;

/// The time of the monotonic clock, in nanoseconds.
///
/// rustix's function returns no error: if a filter refuses the call, it returns whatever was in
/// memory.
#[allow(
    clippy::useless_conversion,
    reason = "fields of 32 bits on some targets"
)]
pub(crate) fn monotonic_nanoseconds() -> io::Result<u64> {
    let mut now = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: `now` has room for the time.
    if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, now.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call returned 0, so it has filled the structure.
    let now = unsafe { now.assume_init() };
    let seconds = u64::from(now.tv_sec.unsigned_abs()).saturating_mul(1_000_000_000);
    Ok(seconds.saturating_add(now.tv_nsec.unsigned_abs().into()))
}
