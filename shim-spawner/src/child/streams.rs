//! The standard streams of the child.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, OwnedFd};

use super::calls::{Errno, check};

/// Runs in the child: puts `stream` on `number`. If there is none, the child inherits this
/// process's descriptor of that number, close-on-exec or not: node marks its own streams. If there
/// is no such descriptor, it gets /dev/null. Otherwise the program's first open file would become
/// its standard error, and the program would write its messages into it.
pub(super) fn put_stream(stream: Option<&OwnedFd>, number: c_int) -> Result<(), Errno> {
    if let Some(stream) = stream {
        // The two differ: a stream's number is above 2.
        return put(stream.as_raw_fd(), number);
    }
    // SAFETY: takes no pointer and changes nothing.
    match check(unsafe { libc::syscall(libc::SYS_fcntl, number, libc::F_GETFD) }) {
        Ok(0) => return Ok(()),
        Ok(_) => {
            // SAFETY: takes no pointer. FD_CLOEXEC is the only flag that exists, and the table is
            // the child's own.
            let cleared = unsafe { libc::syscall(libc::SYS_fcntl, number, libc::F_SETFD, 0) };
            return check(cleared).map(drop);
        }
        Err(Errno(libc::EBADF)) => {}
        Err(errno) => return Err(errno),
    }
    let (path, flags) = (c"/dev/null".as_ptr(), libc::O_RDWR);
    // SAFETY: the path is a C string, which openat(2) reads.
    let null = check(unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags) })?;
    match c_int::try_from(null) {
        // Its number is above 2, and it is closed at the exec like everything else.
        Ok(null) if null != number => put(null, number),
        _ => Ok(()),
    }
}

/// Runs in the child: dup3(2), not close-on-exec.
fn put(from: c_int, to: c_int) -> Result<(), Errno> {
    // SAFETY: takes no pointer. It replaces the descriptor `to` in the child's own table.
    check(unsafe { libc::syscall(libc::SYS_dup3, from, to, 0) }).map(drop)
}
