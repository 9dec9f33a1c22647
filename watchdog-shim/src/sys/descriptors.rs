//! The shim's own descriptors. All are close-on-exec, and none is a standard stream.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};

use crate::sys::identity::own_pid;

/// Opens something on each of the numbers 0 to 2 that is closed. Otherwise one of the shim's own
/// descriptors could get that number, and the shim replaces these three once COMMAND runs. For
/// COMMAND these numbers stay closed.
pub(crate) fn occupy_standard_streams() -> io::Result<()> {
    loop {
        // The read end of a pipe without a writer: nothing can be read from it or written to it.
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        drop(write);
        if read.as_raw_fd() > 2 {
            return Ok(());
        }
        let _ = read.into_raw_fd();
    }
}

/// Moves one of the shim's own descriptors off the numbers 0 to 2.
pub(crate) fn above_standard_streams(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, 3)?)
}

/// Makes a pipe: the read end, and the write end.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((
        above_standard_streams(read)?,
        above_standard_streams(write)?,
    ))
}

/// Makes the kernel send SIGCONT to this process when the pipe gets data or loses its last writer:
/// `F_SETSIG` of [fcntl(2)](https://man7.org/linux/man-pages/man2/fcntl.2.html).
pub(crate) fn continue_at_news_of(pipe: &OwnedFd) -> io::Result<()> {
    let (fd, own) = (pipe.as_raw_fd(), own_pid()?.as_raw_nonzero().get());
    // SAFETY: an open descriptor and plain numbers. SIGCONT has no handler in this process.
    let failed = unsafe {
        libc::fcntl(fd, libc::F_SETOWN, own) != 0
            || libc::fcntl(fd, F_SETSIG, libc::SIGCONT) != 0
            || libc::fcntl(fd, libc::F_SETFL, libc::O_ASYNC) != 0
    };
    if failed {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// include/uapi/asm-generic/fcntl.h.
const F_SETSIG: c_int = 10;

/// Closes a descriptor and returns whether that worked, which dropping it does not.
pub(crate) fn close(fd: OwnedFd) -> io::Result<()> {
    // SAFETY: into_raw_fd has given up the ownership, and nobody else has the number.
    if unsafe { libc::close(fd.into_raw_fd()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
