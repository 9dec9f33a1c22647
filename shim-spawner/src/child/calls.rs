//! System calls by number, and their errors.

use std::ffi::{c_int, c_long};

/// An errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Errno(pub(super) i32);

/// Runs in the child.
pub(super) fn raw(errno: rustix::io::Errno) -> Errno {
    Errno(errno.raw_os_error())
}

/// Runs in the child: the return value of a system call, or its errno.
pub(super) fn check(returned: c_long) -> Result<c_long, Errno> {
    if returned == -1 {
        // SAFETY: the C library returns the address of this thread's errno, which is always valid.
        // In a child that shares memory, it is the errno of the parent's suspended thread.
        Err(Errno(unsafe { *libc::__errno_location() }))
    } else {
        Ok(returned)
    }
}

/// Runs in the child: ends it at once. No exit handler of the parent runs.
pub(super) fn exit(code: c_int) -> ! {
    loop {
        // SAFETY: takes no pointer and does not return.
        unsafe { libc::syscall(libc::SYS_exit_group, code) };
    }
}
