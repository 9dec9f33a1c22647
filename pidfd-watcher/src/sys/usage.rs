//! Reaps a child and returns its resource usage. The C library has no such function for a pidfd.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::c_long;
use rustix::io::Errno;

use super::errno;

/// The kernel's `struct rusage`: include/uapi/linux/resource.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RawUsage {
    /// Seconds and microseconds.
    pub(crate) user_time: [c_long; 2],
    pub(crate) system_time: [c_long; 2],
    /// In KiB.
    pub(crate) max_rss: c_long,
    /// Shared text, data and stack: always zero.
    unused: [c_long; 3],
    pub(crate) minor_faults: c_long,
    pub(crate) major_faults: c_long,
    swaps: c_long,
    pub(crate) blocks_in: c_long,
    pub(crate) blocks_out: c_long,
    /// Messages and signals: always zero.
    unused_too: [c_long; 3],
    pub(crate) voluntary_switches: c_long,
    pub(crate) involuntary_switches: c_long,
}

const _: () = assert!(size_of::<RawUsage>() == 18 * size_of::<c_long>());

/// How a child ended, and with what code or by what signal: `si_code` and `si_status` of
/// sigaction(2).
pub(crate) type End = (i32, i32);

/// Reaps a child of ours that has exited, and returns what it has used. `None`: there is nothing to
/// collect. [waitid(2)](https://man7.org/linux/man-pages/man2/waitid.2.html)
pub(crate) fn collect_with_usage(pidfd: BorrowedFd<'_>) -> Result<Option<(End, RawUsage)>, Errno> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let mut usage = RawUsage::default();
    let options = libc::WEXITED | libc::WNOHANG | libc::__WALL;
    // SAFETY: both structures have room for the result; the layout of the second is asserted above.
    let done = unsafe {
        libc::syscall(
            libc::SYS_waitid,
            libc::P_PIDFD,
            pidfd.as_raw_fd(),
            info.as_mut_ptr(),
            options,
            &raw mut usage,
        )
    };
    if done != 0 {
        return Err(errno());
    }
    // SAFETY: zeros are valid for it, and the call has filled in its result.
    let info = unsafe { info.assume_init() };
    // SAFETY: the fields of a child's change, or zeros.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    Ok((pid != 0).then_some(((info.si_code, status), usage)))
}
