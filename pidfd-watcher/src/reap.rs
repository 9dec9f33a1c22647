//! Reaping a child, once.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::{error, fmt, io};

use rustix::io::Errno;

use crate::poll::Until;
use crate::{Error, Exit, Process};

impl Process {
    /// Reaps a child of this process that has exited: its number becomes free. Never blocks;
    /// [`wait`](Process::wait) first.
    ///
    /// Clones of the handle live on and keep the status. Reaping a child twice, through clones or
    /// after its [`Child`](std::process::Child) was waited for, gives that status again, as long as
    /// this handle or a clone has learned it before the child was reaped. Clones that reap at the
    /// same time, a [`watch_and_reap`](crate::Watcher::watch_and_reap) among them, all get it.
    ///
    /// A ptrace stop is never collected. Of a process that this one traces and that is another's
    /// child, `waitid` gives the status, ends the tracing and leaves the zombie to its parent.
    ///
    /// # Errors
    ///
    /// All give the handle back.
    /// - [`NotReady`](Error::NotReady): it lives, or it is dead and traced: the tracer comes first.
    /// - [`NotChild`](Error::NotChild): it is not ours to reap (`ECHILD`).
    pub fn reap(self) -> Result<Exit, ReapError> {
        let collect = |process: &Process| Ok(process.collect()?.map(|raw| (raw, ())));
        self.reap_by(collect).map(|(exit, _)| exit)
    }

    /// Reaps by `collect`, which may have more to tell than the status: `None` if another one was
    /// first.
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
        // Nothing is collected from a process that lives: it could only be a ptrace stop. Nor is
        // its status asked for, which would be that of a first thread that ended before the others.
        if !self.has_exited(Until::Now)? {
            match self.check_is_ours() {
                Ok(()) => return Err(not_ready()),
                // It has ended since, and a clone of ours, a watcher or its `Child` has reaped it.
                Err(Error::NotChild(_)) if self.has_exited(Until::Now)? => {}
                Err(error) => return Err(error),
            }
        }
        // Learn the status before it goes: of two clones that reap at once, the loser knows it too.
        self.learn();
        match collect(self) {
            Ok(Some((raw, more))) => Ok((ExitStatus::from_raw(raw), Some(more))),
            Ok(None) => Err(not_ready()),
            // Reaped by a clone of ours, a watcher or its `Child`, perhaps since we looked. A
            // handle that was copied by fork does not pass for that.
            Err(Errno::CHILD) => match self.learn() {
                Some(status) if status.ours => Ok((ExitStatus::from_raw(status.raw), None)),
                _ => Err(Error::of_wait(Errno::CHILD)),
            },
            Err(errno) => Err(Error::of_wait(errno)),
        }
    }
}

/// No call gives that number: waitid(2) with `WNOHANG` says "nothing yet" by a success.
fn not_ready() -> Error {
    Error::NotReady(Errno::AGAIN.into())
}

/// [`Process::reap`] or [`Watcher::watch_and_reap`](crate::Watcher::watch_and_reap) failed. The
/// handle comes back with the reason, so that no zombie is lost.
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
