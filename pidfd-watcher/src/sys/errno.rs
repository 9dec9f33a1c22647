//! The error number of this thread.

use std::io;

use rustix::io::Errno;

/// The error of the C library's call that has just failed in this thread.
pub(crate) fn errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}
