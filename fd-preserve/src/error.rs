//! What can go wrong, on which number, and in which process.

use std::fmt;
use std::io;
use std::os::fd::RawFd;

/// Why a plan was refused in the parent, before any child existed.
///
/// When one of these is returned, nothing has changed, except that sources given by value are
/// closed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The plan has two sources for the same number in the child.
    DuplicateTarget {
        /// The number that was asked for twice.
        target: RawFd,
    },
    /// A number in the child is negative.
    NegativeTarget {
        /// The number that was asked for.
        target: RawFd,
    },
    /// A source is negative, so it is no descriptor. Only a bare [`FdPlan`](crate::FdPlan) can
    /// return this.
    NegativeSource {
        /// The number that was given.
        source: RawFd,
    },
    /// A number in the child is at or above the soft `RLIMIT_NOFILE`, where `dup3` answers `EBADF`.
    TargetAboveLimit {
        /// The number that was asked for.
        target: RawFd,
        /// The soft limit: the first number that is not available.
        limit: u64,
    },
    /// A standard descriptor is closed in this process, and `/dev/null` could not be put there.
    /// `Command`'s own pipes would get that number.
    StdioClosed {
        /// 0, 1 or 2.
        fd: RawFd,
        /// Why `/dev/null` could not be opened.
        source: io::Error,
    },
    /// No descriptor is left in this process (`EMFILE`) or in the system (`ENFILE`).
    TooManyOpenFiles {
        /// The source that could not be duplicated, or the target that could not be reserved.
        fd: RawFd,
        /// The errno.
        source: io::Error,
    },
    /// This `Command` already has a plan. A second one would run after the first and overwrite its
    /// work. Describe all descriptors in one [`PreserveFds`](crate::PreserveFds).
    AlreadyApplied,
    /// A borrowed source could not be duplicated for another reason.
    Duplicate {
        /// The source that could not be duplicated, or the number that could not be reserved.
        fd: RawFd,
        /// The errno.
        source: io::Error,
    },
    /// The page on which the child reports its errors could not be mapped (`ENOMEM`).
    SharedPage {
        /// The errno.
        source: io::Error,
    },
    /// The page that distinguishes a forked child from its parent could not be mapped (`ENOMEM`),
    /// or a seccomp filter refuses madvise(2) with `MADV_WIPEONFORK`.
    WipedPage {
        /// The errno.
        source: io::Error,
    },
}

impl Error {
    /// An error for a failed duplication of `fd`, chosen by its errno.
    pub(crate) fn duplicate(fd: RawFd, source: io::Error) -> Error {
        match source.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => Error::TooManyOpenFiles { fd, source },
            _ => Error::Duplicate { fd, source },
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::DuplicateTarget { target } => {
                write!(f, "descriptor {target} of the child was asked for twice")
            }
            Error::NegativeTarget { target } => {
                write!(f, "descriptor {target} of the child is negative")
            }
            Error::NegativeSource { source } => write!(f, "source descriptor {source} is negative"),
            Error::TargetAboveLimit { target, limit } => write!(
                f,
                "descriptor {target} of the child is not below the limit of open files ({limit})"
            ),
            Error::StdioClosed { fd, .. } => {
                write!(
                    f,
                    "standard descriptor {fd} is closed and /dev/null cannot be held there"
                )
            }
            Error::TooManyOpenFiles { fd, .. } => {
                write!(f, "no free descriptor left for descriptor {fd}")
            }
            Error::AlreadyApplied => f.write_str("this command already has a descriptor plan"),
            Error::Duplicate { fd, .. } => write!(f, "cannot duplicate descriptor {fd}"),
            Error::SharedPage { .. } => f.write_str("cannot map the page for the child's errors"),
            Error::WipedPage { .. } => {
                f.write_str("cannot map the page that tells a child from its parent")
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::StdioClosed { source, .. }
            | Error::TooManyOpenFiles { source, .. }
            | Error::Duplicate { source, .. }
            | Error::SharedPage { source }
            | Error::WipedPage { source } => Some(source),
            _ => None,
        }
    }
}

/// The kind is that of the source error, or `InvalidInput` if the plan itself is wrong. The whole
/// error is inside.
impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match &error {
            Error::StdioClosed { source, .. }
            | Error::TooManyOpenFiles { source, .. }
            | Error::Duplicate { source, .. }
            | Error::SharedPage { source }
            | Error::WipedPage { source } => source.kind(),
            _ => io::ErrorKind::InvalidInput,
        };
        io::Error::new(kind, error)
    }
}

/// Why the child did not get its descriptors. It ended before its exec.
///
/// `Command::spawn` can only report an errno, which is [`errno`](Self::errno).
/// [`Applied::explain`](crate::Applied::explain) returns the whole error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChildFdsError {
    /// Neither `close_range` nor `/proc/self/fd` can be used, and a loop cannot prove that it saw
    /// every open descriptor: one of them is above about 65,536, or a seccomp filter refuses
    /// pselect6(2), which tells the size of the table. Reported as `EOPNOTSUPP`.
    NoCloseMethod,
    /// `CommandExt::exec` was called in the process that made the plan. Nothing was changed. To
    /// exec in place, call [`ChildFds::install`](crate::ChildFds::install) first. Reported as
    /// `EOPNOTSUPP`.
    NotForked,
    /// The socket over which `Command` learns of a failed exec is on this target. Nothing was
    /// overwritten. This can only happen if the number was in use in the parent when the plan was
    /// applied, and was closed since. Reported as `EADDRINUSE`.
    TargetCollision {
        /// The number in the child.
        target: RawFd,
    },
    /// `dup3` failed. Reported as its own errno.
    Duplicate {
        /// The number in the child.
        target: RawFd,
        /// `EBADF` if the limit was lowered after the plan was applied, or if the source was
        /// closed.
        errno: i32,
    },
    /// `FD_CLOEXEC` could not be cleared for a descriptor that keeps its number. Reported as its
    /// own errno.
    Keep {
        /// The number, in parent and child.
        fd: RawFd,
        /// `EBADF` if the descriptor was closed after the plan was applied.
        errno: i32,
    },
}

impl ChildFdsError {
    /// One error of each kind, for a number and an errno. The index in this list is the kind's code
    /// in the page through which a child reports.
    pub(crate) const ALL: [fn(RawFd, i32) -> ChildFdsError; 5] = [
        |_, _| ChildFdsError::NoCloseMethod,
        |_, _| ChildFdsError::NotForked,
        |target, _| ChildFdsError::TargetCollision { target },
        |target, errno| ChildFdsError::Duplicate { target, errno },
        |fd, errno| ChildFdsError::Keep { fd, errno },
    ];

    /// The number that this error is about, if it is about one.
    #[must_use]
    pub fn fd(self) -> Option<RawFd> {
        match self {
            ChildFdsError::NoCloseMethod | ChildFdsError::NotForked => None,
            ChildFdsError::TargetCollision { target: fd }
            | ChildFdsError::Duplicate { target: fd, .. }
            | ChildFdsError::Keep { fd, .. } => Some(fd),
        }
    }

    /// The errno that `Command::spawn` reports for this error.
    #[must_use]
    pub fn errno(self) -> i32 {
        // The first two errnos are returned neither by exec(2) nor by Command's own steps.
        match self {
            ChildFdsError::NoCloseMethod | ChildFdsError::NotForked => libc::EOPNOTSUPP,
            ChildFdsError::TargetCollision { .. } => libc::EADDRINUSE,
            ChildFdsError::Duplicate { errno, .. } | ChildFdsError::Keep { errno, .. } => errno,
        }
    }
}

impl fmt::Display for ChildFdsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ChildFdsError::NoCloseMethod => {
                f.write_str("no way to find every open descriptor of the child")
            }
            ChildFdsError::NotForked => f.write_str(
                "a plan of descriptors is for a child; to exec in place, install it by hand",
            ),
            ChildFdsError::TargetCollision { target } => {
                write!(
                    f,
                    "descriptor {target} is in use by the spawner's own error channel"
                )
            }
            ChildFdsError::Duplicate { target, errno } => write!(
                f,
                "cannot set up descriptor {target} in the child: {}",
                io::Error::from_raw_os_error(errno)
            ),
            ChildFdsError::Keep { fd, errno } => write!(
                f,
                "cannot keep descriptor {fd} open in the child: {}",
                io::Error::from_raw_os_error(errno)
            ),
        }
    }
}

impl std::error::Error for ChildFdsError {}

/// The kind is that of the errno. The whole error is inside.
impl From<ChildFdsError> for io::Error {
    fn from(error: ChildFdsError) -> io::Error {
        io::Error::new(io::Error::from_raw_os_error(error.errno()).kind(), error)
    }
}
