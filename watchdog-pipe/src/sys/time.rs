//! Waiting, and the clock that measures it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::time::Duration;

/// The time since the monotonic clock began. On nearly every machine the vDSO provides the clock,
/// and this is no system call. Elsewhere a filter may refuse the call. (`Instant::now` would panic
/// then.)
///
/// # References
/// [clock_gettime(2)](https://man7.org/linux/man-pages/man2/clock_gettime.2.html),
/// [vdso(7)](https://man7.org/linux/man-pages/man7/vdso.7.html)
#[allow(
    clippy::useless_conversion,
    reason = "fields of 32 bits on some targets"
)]
pub(crate) fn now() -> io::Result<Duration> {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the place is large enough for the answer.
    if unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, time.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: clock_gettime answered 0, so it has filled the structure.
    let time = unsafe { time.assume_init() };
    // Neither is ever negative on this clock.
    let seconds = Duration::from_secs(time.tv_sec.unsigned_abs().into());
    Ok(seconds + Duration::from_nanos(time.tv_nsec.unsigned_abs().into()))
}

/// Waits until one of `fds` is ready, at most for this many milliseconds; for ever if negative.
/// Returns what each is ready for.
///
/// Uses poll(2) on architectures that have it, such as x86-64. On others, such as aarch64, the C
/// library calls ppoll(2).
///
/// # References
/// [poll(2)](https://man7.org/linux/man-pages/man2/poll.2.html)
pub(crate) fn poll<const N: usize>(
    fds: [BorrowedFd<'_>; N],
    milliseconds: libc::c_int,
) -> io::Result<[libc::c_short; N]> {
    let mut fds = fds.map(|fd| libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    });
    // SAFETY: an array with as many entries as stated, which the kernel fills.
    let ready = unsafe { libc::poll(fds.as_mut_ptr(), N as libc::nfds_t, milliseconds) };
    if ready < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(fds.map(|fd| fd.revents))
}

/// Sleeps, at most for the seconds that a `time_t` can hold. `Ok(false)` if it was interrupted.
///
/// # References
/// [clock_nanosleep(2)](https://man7.org/linux/man-pages/man2/clock_nanosleep.2.html)
pub(crate) fn sleep(length: Duration) -> io::Result<bool> {
    let mut time: libc::timespec = zero();
    time.tv_sec = libc::time_t::try_from(length.as_secs()).unwrap_or(libc::time_t::MAX);
    #[allow(
        clippy::useless_conversion,
        reason = "of another width on some targets"
    )]
    {
        time.tv_nsec = length.subsec_nanos().cast_signed().into();
    }
    // SAFETY: the time is valid; no place for the remaining time is given.
    match unsafe {
        libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 0, &raw const time, ptr::null_mut())
    } {
        0 => Ok(true),
        libc::EINTR => Ok(false),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Lets other threads run on this CPU first, once.
///
/// # References
/// [sched_yield(2)](https://man7.org/linux/man-pages/man2/sched_yield.2.html)
pub(crate) fn give_way() {
    // SAFETY: sched_yield(2) has no memory effect.
    unsafe { libc::sched_yield() };
}

/// Zeroed, because some targets have additional fields, for padding.
fn zero() -> libc::timespec {
    // SAFETY: integers only, for which zero is valid.
    unsafe { std::mem::zeroed() }
}
