//! System calls by number, and their errors.

use std::ffi::{c_int, c_long};

/// An errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Errno(pub(super) i32);

/// Runs in the child.
pub(super) fn raw(errno: rustix::io::Errno) -> Errno {
    Errno(errno.raw_os_error())
}

/// Runs in the child: what a system call returned, or its errno.
pub(super) fn check(returned: c_long) -> Result<c_long, Errno> {
    if returned == -1 {
        // SAFETY: the C library gives the address of this thread's errno, always valid. In a child
        // that shares memory it is that of the parent's suspended thread.
        Err(Errno(unsafe { *libc::__errno_location() }))
    } else {
        Ok(returned)
    }
}

/// Runs in the child: ends it, and runs nothing of the parent's on the way.
pub(super) fn exit(code: c_int) -> ! {
    loop {
        // SAFETY: takes no pointer and does not come back.
        unsafe { libc::syscall(libc::SYS_exit_group, code) };
    }
}
