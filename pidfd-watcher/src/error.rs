use std::{error, fmt, io};

use rustix::io::Errno;

use crate::Process;

/// Why a call on a [`Process`] or a [`Watcher`](crate::Watcher) failed.
/// [`source`](error::Error::source) is the kernel's own error, where there is one.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// There is no such process, or it was reaped, or it cannot be seen from this PID namespace
    /// (`ESRCH`; of `pidfd_open` also `EINVAL` and `ENOENT`: the number of a thread).
    NotFound(io::Error),
    /// The process is not this process's to wait for: not its child, or reaped already (`ECHILD`;
    /// of [`Process::from_child`] also `ESRCH`).
    NotChild(io::Error),
    /// There is nothing to reap yet: the process lives, or it is dead and a tracer holds it
    /// (`EAGAIN`).
    NotReady(io::Error),
    /// The descriptor is no pidfd of a process (`EBADF`).
    NotPidfd(io::Error),
    /// No descriptor is left to this process (`EMFILE`) or to the system (`ENFILE`).
    TooManyOpenFiles(io::Error),
    /// The user has no epoll watch left (`ENOSPC`): see `fs.epoll.max_user_watches` in
    /// [epoll(7)](https://man7.org/linux/man-pages/man7/epoll.7.html).
    WatchLimit(io::Error),
    /// The kernel, or a filter in front of it, refused (`EPERM`, `EACCES`). To a signal it means
    /// that the process exists and belongs to somebody else.
    PermissionDenied(io::Error),
    /// This kernel does not have the call (`ENOSYS`), or it is not to be had without `/proc`.
    Unsupported(io::Error),
    /// The last [`Watcher`](crate::Watcher) was dropped before the process exited.
    ShutDown,
    /// This is a copy, made by fork, of a watcher whose thread runs in another process.
    ForkedCopy,
    /// Anything else: `ENOMEM`, `ENODEV`, ...
    Io(io::Error),
}

impl Error {
    /// The number of the kernel's error, as in [`io::Error::raw_os_error`].
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        self.cause()?.raw_os_error()
    }

    /// The same once more, for an answer that is given more than once.
    pub(crate) fn again(&self) -> Error {
        match self {
            Error::ShutDown => Error::ShutDown,
            Error::ForkedCopy => Error::ForkedCopy,
            _ => match self.raw_os_error() {
                Some(errno) => Errno::from_raw_os_error(errno).into(),
                None => Error::Io(io::ErrorKind::Other.into()),
            },
        }
    }

    fn cause(&self) -> Option<&io::Error> {
        match self {
            Error::NotFound(cause)
            | Error::NotChild(cause)
            | Error::NotReady(cause)
            | Error::NotPidfd(cause)
            | Error::TooManyOpenFiles(cause)
            | Error::WatchLimit(cause)
            | Error::PermissionDenied(cause)
            | Error::Unsupported(cause)
            | Error::Io(cause) => Some(cause),
            Error::ShutDown | Error::ForkedCopy => None,
        }
    }
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Error {
        let variant = match errno {
            Errno::SRCH => Error::NotFound,
            Errno::CHILD => Error::NotChild,
            Errno::AGAIN => Error::NotReady,
            Errno::MFILE | Errno::NFILE => Error::TooManyOpenFiles,
            Errno::NOSPC => Error::WatchLimit,
            Errno::PERM | Errno::ACCESS => Error::PermissionDenied,
            Errno::NOSYS => Error::Unsupported,
            _ => Error::Io,
        };
        variant(errno.into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Error::NotFound(_) => "no such process",
            Error::NotChild(_) => "process is not ours to wait for",
            Error::NotReady(_) => "process is not ready to be reaped",
            Error::NotPidfd(_) => "descriptor is no pidfd of a process",
            Error::TooManyOpenFiles(_) => "too many open files",
            Error::WatchLimit(_) => "no epoll watch left",
            Error::PermissionDenied(_) => "permission denied",
            Error::Unsupported(_) => "not supported by this kernel",
            Error::ShutDown => "the watcher was shut down",
            Error::ForkedCopy => "a copy made by fork of a watcher cannot watch",
            Error::Io(_) => "pidfd call failed",
        };
        match self.raw_os_error() {
            Some(errno) => write!(f, "{what} (os error {errno})"),
            None => f.write_str(what),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.cause().map(|cause| cause as _)
    }
}

/// Keeps the kernel's number, so that code written against [`io::Error`] sees what it is used to.
impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        match error {
            Error::NotFound(cause)
            | Error::NotChild(cause)
            | Error::NotReady(cause)
            | Error::NotPidfd(cause)
            | Error::TooManyOpenFiles(cause)
            | Error::WatchLimit(cause)
            | Error::PermissionDenied(cause)
            | Error::Unsupported(cause)
            | Error::Io(cause) => cause,
            Error::ShutDown | Error::ForkedCopy => io::Error::other(error),
        }
    }
}

/// [`Process::reap`] or [`Watcher::watch_and_reap`](crate::Watcher::watch_and_reap) failed; the handle comes back with the reason, so that no zombie is lost.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReapError {
    /// The handle that was to be reaped, as good as before.
    pub process: Process,
    /// What went wrong.
    pub error: Error,
}

impl fmt::Display for ReapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reap process {}: {}", self.process.pid(), self.error)
    }
}

impl error::Error for ReapError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<ReapError> for Error {
    fn from(failed: ReapError) -> Error {
        failed.error
    }
}

impl From<ReapError> for io::Error {
    fn from(failed: ReapError) -> io::Error {
        failed.error.into()
    }
}
