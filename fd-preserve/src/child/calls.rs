//! System calls by number: nothing here is a cancellation point, allocates or takes a lock.

use std::ffi::{c_int, c_long};
use std::mem::MaybeUninit;
use std::os::fd::RawFd;

/// An errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Errno(pub(super) i32);

/// Runs in the child: what a system call returned, or its errno.
pub(super) fn checked(returned: c_long) -> Result<c_long, Errno> {
    if returned == -1 {
        // SAFETY: the C library returns the address of this thread's errno, which is always valid.
        Err(Errno(unsafe { *libc::__errno_location() }))
    } else {
        Ok(returned)
    }
}

/// Runs in the child: fcntl(2), for commands that take and return integers.
pub(super) fn fcntl(fd: RawFd, command: c_int, argument: c_int) -> Result<c_long, Errno> {
    // SAFETY: the commands used here (F_GETFD, F_SETFD) take no pointer.
    checked(unsafe { libc::syscall(libc::SYS_fcntl, fd, command, argument) })
}

/// Runs in the child: dup3(2), not close-on-exec. `from` and `to` must differ, or it would be
/// EINVAL.
pub(super) fn duplicate(from: RawFd, to: RawFd) -> Result<(), Errno> {
    loop {
        // SAFETY: takes no pointer. It replaces what is on `to`, which the caller of `install`
        // allows.
        match checked(unsafe { libc::syscall(libc::SYS_dup3, from, to, 0) }) {
            // EINTR: closing the old file on `to` was interrupted. EBUSY: an open(2) in another
            // thread is about to get `to`. Only a process that is about to exec itself has other
            // threads.
            Err(Errno(libc::EINTR | libc::EBUSY)) => {}
            done => return done.map(drop),
        }
    }
}

/// Runs in the child and in the parent: reads an option of `SOL_SOCKET` that is a plain integer.
pub(super) fn socket_option<T: Integer>(
    fd: RawFd,
    option: c_int,
    value: &mut T,
) -> Result<(), Errno> {
    let mut length = libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: the kernel writes at most `length` bytes to `value`, and any bytes are a valid
    // integer.
    checked(unsafe {
        libc::syscall(
            libc::SYS_getsockopt,
            fd,
            libc::SOL_SOCKET,
            option,
            std::ptr::from_mut(value),
            &raw mut length,
        )
    })
    .map(drop)
}

/// A type for which any bytes are a valid value.
pub(super) trait Integer {}
impl Integer for c_int {}
impl Integer for u64 {}

/// Runs in the child and in the parent: the limits on open files. `None` if a seccomp filter
/// refuses the call.
pub(crate) fn limits() -> Option<libc::rlimit64> {
    let mut limits = MaybeUninit::<libc::rlimit64>::zeroed();
    // SAFETY: pid 0 is the caller. The kernel reads no new limits (null) and fills in an rlimit64,
    // for which `limits` has room.
    let done = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            libc::RLIMIT_NOFILE,
            std::ptr::null::<libc::rlimit64>(),
            limits.as_mut_ptr(),
        )
    };
    // SAFETY: zeroed is a valid rlimit64, whether or not the kernel filled it in.
    let limits = unsafe { limits.assume_init() };
    checked(done).is_ok().then_some(limits)
}
