//! The child claims a descriptor that its parent gave it.

use std::fmt;
use std::io;
use std::os::fd::{OwnedFd, RawFd};

use crate::sys;

/// Claims a descriptor that this process inherited on a known number. Makes it close-on-exec, so
/// that this process does not pass it on.
///
/// # Errors
///
/// [`InheritError::Negative`]; [`InheritError::NotOpen`] (`EBADF`) if the number is not open;
/// [`InheritError::Io`] for any other errno of fcntl(2). In each case the number is left alone.
///
/// # Panics
///
/// None.
///
/// # Safety
///
/// Nothing else in this process may own `fd`, now or later: the returned [`OwnedFd`] closes it.
/// This is true under three conditions:
/// - The parent gives `fd` to this process.
/// - It is claimed once.
/// - It is claimed before this process could open anything: first in `main`, before threads start.
///
/// If the parent did not give it, the number may belong to a descriptor that this process opened
/// itself. An open number does not prove that it is the right one. Pass the number in the
/// environment, and check the type of what you get.
///
/// # Examples
///
/// ```no_run
/// use std::fs::File;
///
/// // SAFETY: first statement of main, and the parent maps the log to 3.
/// let log = File::from(unsafe { fd_preserve::inherited_fd(3) }?);
/// # Ok::<(), fd_preserve::InheritError>(())
/// ```
///
/// # References
///
/// [fcntl(2)](https://man7.org/linux/man-pages/man2/fcntl.2.html)
#[allow(unsafe_code, reason = "it owns a number by the promise of its caller")]
pub unsafe fn inherited_fd(fd: RawFd) -> Result<OwnedFd, InheritError> {
    if fd < 0 {
        return Err(InheritError::Negative { fd });
    }
    sys::set_cloexec(fd).map_err(|source| match source.raw_os_error() {
        Some(libc::EBADF) => InheritError::NotOpen { fd },
        _ => InheritError::Io { fd, source },
    })?;
    // SAFETY: open, as the call above has shown, and owned by nobody else, as the caller promises.
    Ok(unsafe { sys::own(fd) })
}

/// Why a number could not be claimed by [`inherited_fd`](crate::inherited_fd).
#[derive(Debug)]
#[non_exhaustive]
pub enum InheritError {
    /// The number is negative.
    Negative {
        /// The number that was asked for.
        fd: RawFd,
    },
    /// Nothing is open on that number (`EBADF`).
    NotOpen {
        /// The number that was asked for.
        fd: RawFd,
    },
    /// The descriptor is open, but could not be made close-on-exec.
    Io {
        /// The number that was asked for.
        fd: RawFd,
        /// The errno, for example from a seccomp filter.
        source: io::Error,
    },
}

impl fmt::Display for InheritError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InheritError::Negative { fd } => write!(f, "descriptor {fd} is negative"),
            InheritError::NotOpen { fd } => write!(f, "descriptor {fd} is not open"),
            InheritError::Io { fd, .. } => {
                write!(f, "cannot make inherited descriptor {fd} close-on-exec")
            }
        }
    }
}

impl std::error::Error for InheritError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            InheritError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// The kind is `InvalidInput`, `NotFound`, or that of the errno. The whole error is inside.
impl From<InheritError> for io::Error {
    fn from(error: InheritError) -> io::Error {
        let kind = match &error {
            InheritError::Negative { .. } => io::ErrorKind::InvalidInput,
            InheritError::NotOpen { .. } => io::ErrorKind::NotFound,
            InheritError::Io { source, .. } => source.kind(),
        };
        io::Error::new(kind, error)
    }
}
