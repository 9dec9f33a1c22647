//! A child of std's, owned, and reaped when it is dropped.

use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use std::time::Duration;
use std::{error, fmt, io};

use crate::{Error, Exit, ExitFuture, Pid, Process, Signal};

/// Owns a child that `std` has spawned. Dropping it never waits, and leaves no zombie: the child is
/// [reaped in the background](Process::reap_when_exited) when it exits.
///
/// ```
/// use std::process::Command;
/// use pidfd_watcher::ChildProcess;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut child = ChildProcess::spawn(Command::new("sleep").arg("60"))?.kill_on_drop(true);
/// child.kill()?;
/// assert!(!child.wait()?.status.is_some_and(|status| status.success()));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ChildProcess {
    /// Our end of the standard input, where it is piped.
    pub stdin: Option<ChildStdin>,
    /// Our end of the standard output, where it is piped.
    pub stdout: Option<ChildStdout>,
    /// Our end of the standard error, where it is piped.
    pub stderr: Option<ChildStderr>,
    process: Process,
    drop: Drops,
}

/// What a drop does to the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drops {
    Leaves,
    Reaps,
    Kills,
}

impl ChildProcess {
    /// Takes charge of a child. Do this before any wait on it: see [`Process::from_child`].
    ///
    /// # Errors
    ///
    /// As [`Process::from_child`]; the child comes back with the reason.
    pub fn new(mut child: Child) -> Result<ChildProcess, ChildError> {
        match Process::from_child(&mut child) {
            Ok(process) => Ok(ChildProcess {
                stdin: child.stdin.take(),
                stdout: child.stdout.take(),
                stderr: child.stderr.take(),
                process,
                drop: Drops::Reaps,
            }),
            Err(error) => Err(ChildError { child, error }),
        }
    }

    /// Spawns a command, and takes charge of the child.
    ///
    /// # Errors
    ///
    /// As [`Command::spawn`], and as [`Process::from_child`]: a child that no handle was to be had
    /// of was killed and reaped.
    pub fn spawn(command: &mut Command) -> io::Result<ChildProcess> {
        ChildProcess::new(command.spawn()?).map_err(|failed| {
            let mut child = failed.child;
            // One that is dead already, or not ours any more, is no matter.
            let _ = child.kill();
            let _ = child.wait();
            failed.error.into()
        })
    }

    /// Whether a drop kills the child, by SIGKILL, before it is reaped; not unless set.
    #[must_use]
    pub fn kill_on_drop(mut self, kill: bool) -> ChildProcess {
        self.drop = if kill { Drops::Kills } else { Drops::Reaps };
        self
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// SIGKILL; does not wait. One that is dead already is no error.
    ///
    /// # Errors
    ///
    /// As [`Process::send_signal`], without [`NotFound`](Error::NotFound).
    pub fn kill(&self) -> Result<(), Error> {
        match self.process.send_signal(Signal::KILL) {
            Err(Error::NotFound(_)) => Ok(()),
            sent => sent,
        }
    }

    /// Closes our end of the standard input, waits for the exit and reaps.
    ///
    /// # Errors
    ///
    /// As [`Process::wait`].
    pub fn wait(&mut self) -> Result<Exit, Error> {
        drop(self.stdin.take());
        let exit = self.process.wait()?;
        Ok(self.settle(exit))
    }

    /// The same for no longer than `timeout`; `None` when the child outlived it.
    ///
    /// # Errors
    ///
    /// As [`Process::wait_timeout`].
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Option<Exit>, Error> {
        drop(self.stdin.take());
        let exit = self.process.wait_timeout(timeout)?;
        Ok(exit.map(|exit| self.settle(exit)))
    }

    /// The exit, if it has come; reaps then.
    ///
    /// # Errors
    ///
    /// As [`Process::try_wait`].
    pub fn try_wait(&mut self) -> Result<Option<Exit>, Error> {
        let exit = self.process.try_wait()?;
        Ok(exit.map(|exit| self.settle(exit)))
    }

    /// The exit as a future, for any executor; it reaps nothing. See [`Process::exited`].
    pub fn exited(&self) -> ExitFuture {
        self.process.exited()
    }

    /// Lets go of the child: it is the caller's to reap. Our ends of its pipes are closed.
    #[must_use = "nobody reaps it any more"]
    pub fn into_process(mut self) -> Process {
        self.drop = Drops::Leaves;
        self.process.clone()
    }

    /// What is known of the exit is known already; a tracer may keep it from being reaped yet.
    fn settle(&self, exit: Exit) -> Exit {
        self.process.clone().reap().unwrap_or(exit)
    }
}

/// As of the [`Process`].
impl AsFd for ChildProcess {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        if self.drop == Drops::Kills {
            let _ = self.kill();
        }
        if self.drop != Drops::Leaves {
            self.process.reap_when_exited();
        }
    }
}

/// [`ChildProcess::new`] failed. The child comes back with the reason, so that no zombie is lost.
#[derive(Debug)]
#[non_exhaustive]
pub struct ChildError {
    /// The child, as good as before.
    pub child: Child,
    /// What went wrong.
    pub error: Error,
}

impl fmt::Display for ChildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "open child {}: {}", self.child.id(), self.error)
    }
}

impl error::Error for ChildError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<ChildError> for io::Error {
    fn from(failed: ChildError) -> io::Error {
        failed.error.into()
    }
}
