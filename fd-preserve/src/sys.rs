//! System calls that rustix does not wrap, and the code that adopts bare numbers or addresses.

mod fork_generation;
mod published;
mod shared_page;

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr;

pub(crate) use fork_generation::ForkGeneration;
pub(crate) use published::Published;
pub(crate) use shared_page::{SharedPage, Words};

/// Whether `fd` is open in this process.
pub(crate) fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD takes no pointer and changes nothing; any number is a valid argument.
    unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 }
}

/// Sleeps for a millisecond. Not `thread::sleep`, which panics if a filter refuses the system call.
/// In that case this only yields the processor.
pub(crate) fn pause() {
    let millisecond = libc::timespec {
        tv_sec: 0,
        tv_nsec: 1_000_000,
    };
    // SAFETY: nanosleep(2) reads one timespec; no place for the remaining time is given.
    if unsafe { libc::nanosleep(&raw const millisecond, ptr::null_mut()) } == -1 {
        // SAFETY: takes no pointer.
        unsafe { libc::sched_yield() };
    }
}

/// Makes `fd` close-on-exec. This is the only descriptor flag that exists.
pub(crate) fn set_cloexec(fd: RawFd) -> io::Result<()> {
    // SAFETY: F_SETFD takes an integer; any number is a valid argument.
    match unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Takes ownership of a number.
///
/// # Safety
/// `fd` is open, and nothing else owns it.
pub(crate) unsafe fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the caller's promise.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
