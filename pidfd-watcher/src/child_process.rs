//! Owns a child of std's, and reaps it when it is dropped.

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
    /// Our end of the standard input, if it is piped.
    pub stdin: Option<ChildStdin>,
    /// Our end of the standard output, if it is piped.
    pub stdout: Option<ChildStdout>,
    /// Our end of the standard error, if it is piped.
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
    /// Takes charge of a child. Call it before any wait on the child: see [`Process::from_child`].
    ///
    /// # Errors
    ///
    /// As for [`Process::from_child`]. The error contains the child.
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
    /// As for [`Command::spawn`] and [`Process::from_child`]. If no handle could be opened, the
    /// child was killed and reaped.
    pub fn spawn(command: &mut Command) -> io::Result<ChildProcess> {
        ChildProcess::new(command.spawn()?).map_err(|failed| {
            let mut child = failed.child;
            // It does not matter if the child is dead already, or not ours any more.
            let _ = child.kill();
            let _ = child.wait();
            failed.error.into()
        })
    }

    /// Whether a drop kills the child, by SIGKILL, before it is reaped. The default is no.
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

    /// Sends SIGKILL; does not wait. It is no error if the child is dead already.
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

    /// Closes our end of the standard input, waits for the exit, and reaps.
    ///
    /// # Errors
    ///
    /// As [`Process::wait`].
    pub fn wait(&mut self) -> Result<Exit, Error> {
        drop(self.stdin.take());
        let exit = self.process.wait()?;
        Ok(self.settle(exit))
    }

    /// The same, but waits at most for `timeout`. `None` if the child is still alive then.
    ///
    /// # Errors
    ///
    /// As [`Process::wait_timeout`].
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Option<Exit>, Error> {
        drop(self.stdin.take());
        let exit = self.process.wait_timeout(timeout)?;
        Ok(exit.map(|exit| self.settle(exit)))
    }

    /// The exit, if it has come. In that case it also reaps.
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

    /// Gives up the child: the caller has to reap it. Our ends of its pipes are closed.
    #[must_use = "nobody reaps it any more"]
    pub fn into_process(mut self) -> Process {
        self.drop = Drops::Leaves;
        self.process.clone()
    }

    /// Reaps. If a tracer keeps the child from being reaped, returns `exit`.
    fn settle(&self, exit: Exit) -> Exit {
        self.process.clone().reap().unwrap_or(exit)
    }
}

/// The descriptor of the [`Process`].
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

/// [`ChildProcess::new`] failed. Contains the child as well as the reason, so that no zombie is
/// lost.
#[derive(Debug)]
#[non_exhaustive]
pub struct ChildError {
    /// The child, unchanged.
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
