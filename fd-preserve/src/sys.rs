//! The system calls that rustix does not wrap, and what adopts bare numbers or addresses.

mod fork_generation;
mod published;
mod shared_page;

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr;

pub(crate) use fork_generation::ForkGeneration;
pub(crate) use published::Published;
pub(crate) use shared_page::{SharedPage, Words};

/// Whether anything is open on `fd` in this process.
pub(crate) fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD takes no pointer and changes nothing; any number is a valid argument.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

/// Sleeps for a millisecond. Not by `thread::sleep`, which panics where a filter refuses the system
/// call; then another thread gets the processor, no more.
pub(crate) fn pause() {
    let millisecond = libc::timespec {
        tv_sec: 0,
        tv_nsec: 1_000_000,
    };
    // SAFETY: nanosleep(2) reads one timespec, and the time that is left is not asked for.
    if unsafe { libc::nanosleep(&raw const millisecond, ptr::null_mut()) } == -1 {
        // SAFETY: takes no pointer.
        unsafe { libc::sched_yield() };
    }
}

/// Makes `fd` close-on-exec, which is the only flag there is.
pub(crate) fn set_cloexec(fd: RawFd) -> io::Result<()> {
    // SAFETY: F_SETFD takes an integer; any number is a valid argument.
    match unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The owner of a number.
///
/// # Safety
/// `fd` is open, and nothing else owns it.
pub(crate) unsafe fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the caller's promise.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
