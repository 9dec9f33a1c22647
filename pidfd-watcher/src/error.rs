use std::{error, fmt, io};

use rustix::io::Errno;

/// Why a call on a [`Process`](crate::Process) or a [`Watcher`](crate::Watcher) failed.
/// [`source`](error::Error::source) is the kernel's own error, if there is one.
///
/// # Which error is which
///
/// The meaning of an errno depends on the system call that returned it:
///
/// | system call | errno | variant | cause |
/// |---|---|---|---|
/// | `pidfd_open` | `ESRCH` | [`NotFound`](Error::NotFound) | no process has that number |
/// | | `ENOENT`, `EINVAL` | [`NotFound`](Error::NotFound) | a thread has it, or a process that is being reaped |
/// | `pidfd_send_signal` | `ESRCH` | [`NotFound`](Error::NotFound) | the process was reaped |
/// | | `EPERM` | [`PermissionDenied`](Error::PermissionDenied) | this process may not signal the other one |
/// | | `EINVAL` | [`Io`](Error::Io) | it is in a PID namespace that is not below this one |
/// | `waitid` | `ECHILD` | [`NotChild`](Error::NotChild) | not a child of this process, or reaped |
/// | | `EINVAL` | [`Unsupported`](Error::Unsupported) | Linux before 5.4 |
/// | `PIDFD_GET_INFO` | `ESRCH` | [`NotFound`](Error::NotFound) | reaped; before Linux 6.18 also the next |
/// | | `EREMOTE` | [`NotFound`](Error::NotFound) | it is in a PID namespace that is not below this one |
/// | | any other | [`Unsupported`](Error::Unsupported) | Linux before 6.13, or a filter; and `/proc` does not help either |
/// | `epoll_ctl` | `ENOSPC` | [`WatchLimit`](Error::WatchLimit) | `fs.epoll.max_user_watches` |
/// | `clone` | `EAGAIN` | [`TooManyProcesses`](Error::TooManyProcesses) | a limit on processes and threads |
/// | each | `EMFILE`, `ENFILE` | [`TooManyOpenFiles`](Error::TooManyOpenFiles) | |
/// | each | `EPERM`, `EACCES` | [`PermissionDenied`](Error::PermissionDenied) | a seccomp filter or a security module |
/// | each | `ENOSYS` | [`Unsupported`](Error::Unsupported) | an older kernel, or a seccomp filter |
/// | each | any other | [`Io`](Error::Io) | `ENOMEM`, `ENODEV`, `EBADF`, ... |
///
/// [`NotReady`](Error::NotReady) and [`NotPidfd`](Error::NotPidfd) do not come from the kernel.
/// They contain `EAGAIN` and `EBADF` for code that looks at the errno. `EINTR` is never returned.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The process does not exist, was reaped, or cannot be seen from this PID namespace (`ESRCH`,
    /// `EREMOTE`; from `pidfd_open` also `EINVAL` and `ENOENT`).
    NotFound(io::Error),
    /// This process cannot wait for it: it is not a child of this process, or was reaped already
    /// (`ECHILD`; from [`Process::from_child`](crate::Process::from_child) also `ESRCH`).
    NotChild(io::Error),
    /// There is nothing to reap yet: the process lives, or it is dead and a tracer holds it
    /// (`EAGAIN`).
    NotReady(io::Error),
    /// The descriptor is no pidfd of a process (`EBADF`).
    NotPidfd(io::Error),
    /// This process (`EMFILE`) or the system (`ENFILE`) has no free descriptor.
    TooManyOpenFiles(io::Error),
    /// The user, the control group or the system has no room for another process or thread
    /// (`EAGAIN`): see `RLIMIT_NPROC` and `pids.max`. The C library also returns this if it has no
    /// memory for a thread's stack.
    TooManyProcesses(io::Error),
    /// The user has no epoll watch left (`ENOSPC`): see `fs.epoll.max_user_watches` in
    /// [epoll(7)](https://man7.org/linux/man-pages/man7/epoll.7.html).
    WatchLimit(io::Error),
    /// The kernel, or a filter, refused (`EPERM`, `EACCES`). For a signal this means that the
    /// process exists and belongs to somebody else.
    PermissionDenied(io::Error),
    /// This kernel does not have the call (`ENOSYS`), or the result is not available without
    /// `/proc`.
    Unsupported(io::Error),
    /// The last [`Watcher`](crate::Watcher) was dropped before the process exited.
    ShutDown,
    /// This is a copy, made by fork, of a watcher whose thread runs in another process.
    ForkedCopy,
    /// Anything else: `ENOMEM`, `ENODEV`, ...
    Io(io::Error),
}

impl Error {
    /// The errno of the kernel's error, as in [`io::Error::raw_os_error`].
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        self.cause()?.raw_os_error()
    }

    /// For any call for which no errno has a special meaning.
    pub(crate) fn of_call(errno: Errno) -> Error {
        let variant = match errno {
            Errno::MFILE | Errno::NFILE => Error::TooManyOpenFiles,
            Errno::PERM | Errno::ACCESS => Error::PermissionDenied,
            Errno::NOSYS => Error::Unsupported,
            _ => Error::Io,
        };
        variant(errno.into())
    }

    /// For `pidfd_open` without flags, so that `EINVAL` is about the pid.
    pub(crate) fn of_open(errno: Errno) -> Error {
        match errno {
            Errno::SRCH | Errno::INVAL | Errno::NOENT => Error::NotFound(errno.into()),
            _ => Error::of_call(errno),
        }
    }

    /// For `pidfd_send_signal`.
    pub(crate) fn of_signal(errno: Errno) -> Error {
        match errno {
            Errno::SRCH => Error::NotFound(errno.into()),
            _ => Error::of_call(errno),
        }
    }

    /// For `waitid` with options that are always the same, so that `EINVAL` is about `P_PIDFD`.
    pub(crate) fn of_wait(errno: Errno) -> Error {
        match errno {
            Errno::CHILD => Error::NotChild(errno.into()),
            Errno::INVAL => Error::Unsupported(errno.into()),
            _ => Error::of_call(errno),
        }
    }

    /// For `clone`, and for the start of a thread.
    pub(crate) fn of_clone(errno: Errno) -> Error {
        match errno {
            Errno::AGAIN => Error::TooManyProcesses(errno.into()),
            _ => Error::of_call(errno),
        }
    }

    /// For `epoll_ctl`, and for the calls that create what it needs.
    pub(crate) fn of_watch(errno: Errno) -> Error {
        match errno {
            Errno::NOSPC => Error::WatchLimit(errno.into()),
            _ => Error::of_call(errno),
        }
    }

    /// A copy of this error, for an answer that is given more than once.
    pub(crate) fn again(&self) -> Error {
        let (variant, cause): (fn(io::Error) -> Error, _) = match self {
            Error::NotFound(cause) => (Error::NotFound, cause),
            Error::NotChild(cause) => (Error::NotChild, cause),
            Error::NotReady(cause) => (Error::NotReady, cause),
            Error::NotPidfd(cause) => (Error::NotPidfd, cause),
            Error::TooManyOpenFiles(cause) => (Error::TooManyOpenFiles, cause),
            Error::TooManyProcesses(cause) => (Error::TooManyProcesses, cause),
            Error::WatchLimit(cause) => (Error::WatchLimit, cause),
            Error::PermissionDenied(cause) => (Error::PermissionDenied, cause),
            Error::Unsupported(cause) => (Error::Unsupported, cause),
            Error::Io(cause) => (Error::Io, cause),
            Error::ShutDown => return Error::ShutDown,
            Error::ForkedCopy => return Error::ForkedCopy,
        };
        variant(match cause.raw_os_error() {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => cause.kind().into(),
        })
    }

    fn cause(&self) -> Option<&io::Error> {
        match self {
            Error::NotFound(cause)
            | Error::NotChild(cause)
            | Error::NotReady(cause)
            | Error::NotPidfd(cause)
            | Error::TooManyOpenFiles(cause)
            | Error::TooManyProcesses(cause)
            | Error::WatchLimit(cause)
            | Error::PermissionDenied(cause)
            | Error::Unsupported(cause)
            | Error::Io(cause) => Some(cause),
            Error::ShutDown | Error::ForkedCopy => None,
        }
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
            Error::TooManyProcesses(_) => "too many processes or threads",
            Error::WatchLimit(_) => "no epoll watch left",
            Error::PermissionDenied(_) => "permission denied",
            Error::Unsupported(_) => "not supported by this kernel",
            Error::ShutDown => "the watcher was shut down",
            Error::ForkedCopy => "a copy made by fork of a watcher cannot watch",
            Error::Io(_) => "system call failed",
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

/// Keeps the kernel's errno, so that code written for [`io::Error`] gets what it expects.
impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        match error {
            Error::NotFound(cause)
            | Error::NotChild(cause)
            | Error::NotReady(cause)
            | Error::NotPidfd(cause)
            | Error::TooManyOpenFiles(cause)
            | Error::TooManyProcesses(cause)
            | Error::WatchLimit(cause)
            | Error::PermissionDenied(cause)
            | Error::Unsupported(cause)
            | Error::Io(cause) => cause,
            Error::ShutDown | Error::ForkedCopy => io::Error::other(error),
        }
    }
}
