//! Why a shim could not be stopped.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use pidfd_watcher::{Error, Pid};

/// A shim could not be stopped.
#[derive(Debug)]
#[non_exhaustive]
pub enum StopError {
    /// The shim itself still exists ten seconds after SIGKILL: it is in an uninterruptible wait in
    /// the kernel.
    StillAlive {
        /// The shim.
        pid: Pid,
    },
    /// This process is one of those that the stop would signal: it is in the shim's group or
    /// cgroup. Nothing was signalled.
    OwnProcess,
    /// The shim was spawned with a cgroup to stop, and this handler does not know which. Set it by
    /// [`ShimHandler::stop_cgroup`](crate::ShimHandler::stop_cgroup). Nothing was signalled.
    NoCgroup,
    /// The cgroup cannot be read.
    Cgroup(io::Error),
    /// The process could not be signalled or waited for. `EPERM`: it belongs to another user.
    /// [`Unsupported`](Error::Unsupported): it is the group of a shim that is not this process's
    /// child, before Linux 6.9 and without `/proc`.
    Process(Error),
}

impl fmt::Display for StopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StopError::StillAlive { pid } => {
                let pid = pid.as_raw_nonzero();
                write!(f, "process {pid} did not end after SIGKILL")
            }
            StopError::OwnProcess => {
                f.write_str("this process is one of those that would be stopped")
            }
            StopError::NoCgroup => f.write_str("the cgroup that is to be stopped is not known"),
            StopError::Cgroup(_) => f.write_str("the cgroup cannot be read"),
            StopError::Process(_) => f.write_str("the shim could not be stopped"),
        }
    }
}

impl StdError for StopError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            StopError::Process(error) => Some(error),
            StopError::Cgroup(error) => Some(error),
            StopError::StillAlive { .. } | StopError::OwnProcess | StopError::NoCgroup => None,
        }
    }
}

impl From<Error> for StopError {
    fn from(error: Error) -> StopError {
        StopError::Process(error)
    }
}

/// Keeps the errno if there is one. If SIGKILL did not end a process, the kind is
/// [`TimedOut`](io::ErrorKind::TimedOut).
impl From<StopError> for io::Error {
    fn from(error: StopError) -> io::Error {
        match error {
            StopError::Process(error) => error.into(),
            StopError::Cgroup(error) => error,
            StopError::StillAlive { .. } => io::Error::new(io::ErrorKind::TimedOut, error),
            StopError::OwnProcess | StopError::NoCgroup => {
                io::Error::new(io::ErrorKind::InvalidInput, error)
            }
        }
    }
}
