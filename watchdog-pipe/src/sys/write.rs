//! A write that raises no SIGPIPE.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::ptr;

use rustix::io::{Errno, ReadWriteFlags};

use super::process::is_pending;
use super::signals::BlockedSignals;

/// Writes; returns `EPIPE` if the reader is gone, without raising SIGPIPE.
///
/// # References
/// [write(2)](https://man7.org/linux/man-pages/man2/write.2.html),
/// [pwritev2(2)](https://man7.org/linux/man-pages/man2/pwritev2.2.html)
pub(crate) fn write_without_sigpipe(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    /// `RWF_NOSIGNAL` of include/uapi/linux/fs.h: since Linux 6.18, for pipes too.
    const NO_SIGNAL: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x100);
    /// A pipe has no position.
    const NO_POSITION: u64 = u64::MAX;
    match rustix::io::pwritev2(fd, &[IoSlice::new(bytes)], NO_POSITION, NO_SIGNAL) {
        Ok(written) => Ok(written),
        Err(error @ (Errno::PIPE | Errno::AGAIN)) => Err(error.into()),
        // EOPNOTSUPP before 6.18, or what a filter answers. Nothing was written.
        Err(_) => write_with_sigpipe_blocked(fd, bytes),
    }
}

/// Writes with SIGPIPE blocked. The kernel sends SIGPIPE only to the writing thread. It stays
/// pending there, and is taken back before the mask is restored. A SIGPIPE that was pending before
/// is not ours and is left. If that one is pending for the whole process, two are pending now; a
/// program that counts signals could notice.
///
/// # References
/// [signal(7)](https://man7.org/linux/man-pages/man7/signal.7.html)
fn write_with_sigpipe_blocked(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let mut sigpipe = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set; SIGPIPE is a valid signal number.
    let sigpipe = unsafe {
        libc::sigemptyset(sigpipe.as_mut_ptr());
        libc::sigaddset(sigpipe.as_mut_ptr(), libc::SIGPIPE);
        sigpipe.assume_init()
    };
    let _blocked = BlockedSignals::all()?;
    let pending_before = is_pending(libc::SIGPIPE);
    let written = rustix::io::write(fd, bytes);
    if written == Err(Errno::PIPE) && !pending_before {
        let now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: both pointers are valid for the call; no place for details is given.
        // EINTR comes from another signal, so ask once more.
        while unsafe { libc::sigtimedwait(&raw const sigpipe, ptr::null_mut(), &raw const now) } < 0
            && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
        {}
    }
    Ok(written?)
}
