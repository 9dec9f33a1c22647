//! Descriptors of the shim's own. All are close-on-exec, and none is a standard stream.

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};

use crate::sys::identity::own_pid;

/// Fills the numbers 0 to 2 that are closed, so that no descriptor of the shim's own gets one of
/// them: the shim closes these numbers when COMMAND runs. COMMAND finds them closed, as they were.
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

/// Moves a descriptor of ours off the numbers 0 to 2, where one lands if those are closed.
pub(crate) fn above_standard_streams(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(&fd, 3)?)
}

/// A pipe: the end to read, and the end to write.
pub(crate) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok((
        above_standard_streams(read)?,
        above_standard_streams(write)?,
    ))
}

/// Makes the kernel send SIGCONT to this process when the pipe can be read, or has no writer any
/// more: `F_SETSIG` of [fcntl(2)](https://man7.org/linux/man-pages/man2/fcntl.2.html).
pub(crate) fn continue_at_news_of(pipe: &OwnedFd) -> io::Result<()> {
    let (fd, own) = (pipe.as_raw_fd(), own_pid()?.as_raw_nonzero().get());
    // SAFETY: an open descriptor of ours and plain numbers. The signal is blocked, and runs no
    // handler.
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

/// Closes a descriptor that it has made, and returns the error of close(2).
pub(crate) fn try_close() -> io::Result<()> {
    let (read, _write) = pipe()?;
    // SAFETY: ours alone, and given up.
    if unsafe { libc::close(read.into_raw_fd()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
