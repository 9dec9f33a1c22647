//! Why a child's end was not adopted.

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::fd::RawFd;

use crate::variable::ENV_VAR;

/// Why a child's end was not adopted. Nothing was claimed, closed or changed, and the variable is
/// still in the environment.
#[derive(Debug)]
#[non_exhaustive]
pub enum AdoptError {
    /// The variable is set, but not to something that this crate writes.
    Malformed {
        /// Its value.
        value: OsString,
    },
    /// The environment holds the variable more than once.
    SetTwice,
    /// Adopted before: a process can adopt one watchdog from its environment.
    AlreadyClaimed,
    /// The descriptor is no pipe.
    NotAPipe {
        /// The number.
        fd: RawFd,
    },
    /// The descriptor is not the read end.
    WrongEnd {
        /// The number.
        fd: RawFd,
    },
    /// This process holds a write end of the same pipe. It would keep the pipe open itself, and
    /// never read an end of file.
    HoldsWriter {
        /// The number of the read end.
        fd: RawFd,
        /// The number of the write end.
        writer: RawFd,
    },
    /// The number has the sentinel's page that the variable names, but the page is not as a parent
    /// makes it: a seal is missing, or the word is outside of the page. It is no error if the
    /// number is closed, or is another file: then the spawner passed on the pipe alone, and the
    /// child follows that.
    DamagedPage {
        /// The number.
        fd: RawFd,
    },
    /// A system call failed: `EMFILE`, `ENFILE` or `ENOMEM` when the event descriptors are made,
    /// `ENOSPC` if the user has no epoll watch left.
    Io(io::Error),
}

impl fmt::Display for AdoptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdoptError::Malformed { value } => {
                write!(f, "malformed {ENV_VAR}={}", value.display())
            }
            AdoptError::SetTwice => write!(f, "{ENV_VAR} is set more than once"),
            AdoptError::AlreadyClaimed => f.write_str("the watchdog was adopted before"),
            AdoptError::NotAPipe { fd } => write!(f, "descriptor {fd} is not a pipe"),
            AdoptError::WrongEnd { fd } => {
                write!(f, "descriptor {fd} is not the read end of a pipe")
            }
            AdoptError::HoldsWriter { fd, writer } => write!(
                f,
                "descriptor {writer} is a write end of the pipe that descriptor {fd} watches"
            ),
            AdoptError::DamagedPage { fd } => {
                write!(f, "descriptor {fd} is not a page as a sentinel makes it")
            }
            AdoptError::Io(_) => f.write_str("the watchdog could not be set up"),
        }
    }
}

impl Error for AdoptError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            AdoptError::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for AdoptError {
    fn from(error: io::Error) -> AdoptError {
        AdoptError::Io(error)
    }
}

/// For a `main` that returns `io::Result`. [`AdoptError::Io`] becomes the error that it contains.
/// [`AdoptError::AlreadyClaimed`] becomes [`ResourceBusy`](io::ErrorKind::ResourceBusy), and all
/// others become [`InvalidData`](io::ErrorKind::InvalidData), with the error inside.
impl From<AdoptError> for io::Error {
    fn from(error: AdoptError) -> io::Error {
        let kind = match error {
            AdoptError::Io(error) => return error,
            AdoptError::AlreadyClaimed => io::ErrorKind::ResourceBusy,
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}
