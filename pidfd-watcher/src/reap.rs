//! Reaping a child, once.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::{error, fmt, io};

use rustix::io::Errno;

use crate::poll::Until;
use crate::{Error, Exit, Process};

impl Process {
    /// Reaps a child of this process that has exited. Its pid is then free. Never blocks; call
    /// [`wait`](Process::wait) first.
    ///
    /// Clones of the handle live on and keep the status. If the child is reaped twice, through
    /// clones or after its [`Child`](std::process::Child) was waited for, the second call returns
    /// the status again, as long as this handle or a clone had learned it before the child was
    /// reaped. If clones reap at the same time, including a
    /// [`watch_and_reap`](crate::Watcher::watch_and_reap), all of them get it.
    ///
    /// A ptrace stop is never consumed. If this process traces a process that is another one's
    /// child, `waitid` returns the status, ends the tracing and leaves the zombie to its parent.
    /// # Errors
    ///
    /// All of these return the handle.
    /// - [`NotReady`](Error::NotReady): the child lives, or it is dead and traced: the tracer comes
    ///   first.
    /// - [`NotChild`](Error::NotChild): this process cannot reap it (`ECHILD`).
    pub fn reap(self) -> Result<Exit, ReapError> {
        let collect = |process: &Process| Ok(process.collect()?.map(|raw| (raw, ())));
        self.reap_by(collect).map(|(exit, _)| exit)
    }

    /// Reaps by `collect`, which may return more than the status. That is `None` if another caller
    /// was first.
    pub(crate) fn reap_by<T>(
        self,
        collect: impl FnOnce(&Process) -> Result<Option<(i32, T)>, Errno>,
    ) -> Result<(Exit, Option<T>), ReapError> {
        match self.reap_child(collect) {
            Ok((status, more)) => {
                let (pid, status) = (self.pid(), Some(status));
                Ok((Exit { pid, status }, more))
            }
            Err(error) => Err(ReapError {
                process: self,
                error,
            }),
        }
    }

    fn reap_child<T>(
        &self,
        collect: impl FnOnce(&Process) -> Result<Option<(i32, T)>, Errno>,
    ) -> Result<(ExitStatus, Option<T>), Error> {
        // Nothing is collected from a process that lives: it could only be a ptrace stop. Its
        // status is not read either: that would be the status of a first thread that ended before
        // the others.
        if !self.has_exited(Until::Now)? {
            match self.check_is_ours() {
                Ok(()) => return Err(not_ready()),
                // It has ended since, and a clone, a watcher or its `Child` has reaped it.
                Err(Error::NotChild(_)) if self.has_exited(Until::Now)? => {}
                Err(error) => return Err(error),
            }
        }
        // Learn the status before it disappears: if two clones reap at once, the one that comes
        // second knows it too.
        self.learn();
        match collect(self) {
            Ok(Some((raw, more))) => Ok((ExitStatus::from_raw(raw), Some(more))),
            Ok(None) => Err(not_ready()),
            // A clone, a watcher or its `Child` has reaped it, perhaps since we looked. A handle
            // that was copied by fork does not count.
            Err(Errno::CHILD) => match self.learn() {
                Some(status) if status.ours => Ok((ExitStatus::from_raw(status.raw), None)),
                _ => Err(Error::of_wait(Errno::CHILD)),
            },
            Err(errno) => Err(Error::of_wait(errno)),
        }
    }
}

/// No call returns this errno: waitid(2) with `WNOHANG` reports "nothing yet" by success.
fn not_ready() -> Error {
    Error::NotReady(Errno::AGAIN.into())
}

/// [`Process::reap`] or [`Watcher::watch_and_reap`](crate::Watcher::watch_and_reap) failed.
/// Contains the handle as well as the reason, so that no zombie is lost.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReapError {
    /// The handle that should have been reaped. It is unchanged.
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
