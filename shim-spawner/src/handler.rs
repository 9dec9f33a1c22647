//! A shim under supervision: stop it, wait for it, let it go, find it again.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::time::Duration;

use pidfd_watcher::{Error, Exit, ExitFuture, Pid, Process, Signal, WatchHandle, Watcher};
use watchdog_pipe::{Guarantees, Keepalive, StopPolicy};

use crate::shim::guarantees_of;
use crate::{AdoptError, Level, ShimChild, ShimIdentity, SpawnedShim};

/// How long a process may take to vanish after SIGKILL: a kernel that is busy tearing down its
/// memory, or waits for a disk, is not hurried by anyone.
const KILL_WAIT: Duration = Duration::from_secs(10);

/// Supervises one shim. Dropping it drops the keepalive, which an attached shim is told: one with a
/// watchdog stops itself, even if nobody called [`stop`](ShimHandler::stop). A detached or adopted
/// one is told nothing. Whenever a child of this process exits, it is reaped in the background.
#[derive(Debug)]
#[must_use = "dropping the handler tells an attached shim to stop"]
pub struct ShimHandler {
    child: ShimChild,
    keepalive: Option<Keepalive>,
}

/// A shim could not be stopped.
#[derive(Debug)]
#[non_exhaustive]
pub enum StopError {
    /// It is still there ten seconds after SIGKILL: the kernel holds it in an uninterruptible wait.
    StillAlive {
        /// Which.
        pid: Pid,
    },
    /// The process could not be signalled or waited for: `EPERM` for one of another user.
    Process(Error),
}

impl fmt::Display for StopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StopError::StillAlive { pid } => {
                write!(
                    f,
                    "process {} does not end by SIGKILL",
                    pid.as_raw_nonzero()
                )
            }
            StopError::Process(_) => f.write_str("the shim could not be stopped"),
        }
    }
}

impl StdError for StopError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            StopError::Process(error) => Some(error),
            StopError::StillAlive { .. } => None,
        }
    }
}

impl From<Error> for StopError {
    fn from(error: Error) -> StopError {
        StopError::Process(error)
    }
}

/// Keeps the kernel's number where there is one. A process that SIGKILL does not end is
/// [`TimedOut`](io::ErrorKind::TimedOut).
impl From<StopError> for io::Error {
    fn from(error: StopError) -> io::Error {
        match error {
            StopError::Process(error) => error.into(),
            StopError::StillAlive { .. } => io::Error::new(io::ErrorKind::TimedOut, error),
        }
    }
}

impl From<SpawnedShim> for ShimHandler {
    fn from(shim: SpawnedShim) -> ShimHandler {
        ShimHandler::new(shim)
    }
}

impl ShimHandler {
    /// Takes charge of a shim.
    pub fn new(shim: SpawnedShim) -> ShimHandler {
        ShimHandler {
            child: shim.child,
            keepalive: shim.keepalive,
        }
    }

    /// Finds a shim again, after a restart of the runtime: the same process or an error, never a
    /// stranger. The handler holds no keepalive: dropping it leaves the shim alone.
    /// [`stop`](ShimHandler::stop) goes by the stop policy that is in the identity, and by the
    /// default one if there is none.
    ///
    /// # Errors
    /// A typed [`AdoptError`]: gone, pid reused, another boot, another PID namespace.
    pub fn adopt(identity: &ShimIdentity) -> Result<ShimHandler, AdoptError> {
        let process = identity.open()?;
        let child = ShimChild::new(
            process,
            identity.stop_policy().unwrap_or_default(),
            Level::Told,
        );
        Ok(ShimHandler {
            child,
            keepalive: None,
        })
    }

    /// Holds the link to the shim by a keepalive that its former runtime handed over: the shim is
    /// attached to this process from now on.
    pub fn attach(mut self, keepalive: Keepalive) -> ShimHandler {
        self.keepalive = Some(keepalive);
        self
    }

    /// How [`stop`](ShimHandler::stop) stops the shim, in place of what its spawner or its identity
    /// said.
    pub fn stop_policy(mut self, policy: StopPolicy) -> ShimHandler {
        self.child.set_stop_policy(policy);
        self
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &Process {
        self.child.process()
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.child.pid()
    }

    /// Our end of the standard input, once.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Our end of the standard output, once.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// Our end of the standard error, once.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }

    /// Whether this handler holds a keepalive: the shim is told when the handler is dropped, and
    /// when this process dies.
    ///
    /// That it then ends is up to its program: one without a [`Watchdog`](watchdog_pipe::Watchdog)
    /// does not listen, and goes on.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.keepalive.is_some()
    }

    /// What the shim is told of this process's end, and when. Empty for one that is not attached.
    #[must_use]
    pub fn guarantees(&self) -> Guarantees {
        guarantees_of(self.keepalive.as_ref())
    }

    /// What is promised of the shim's end when this process ends. `None` for one that is not
    /// attached; at least [`Level::Told`] for one that was [attached](ShimHandler::attach) again,
    /// of which no more is known.
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        self.keepalive.as_ref().map(|_| self.child.level())
    }

    /// What finds this shim again from another process, with the stop policy and whether this
    /// handler holds a keepalive. Between a spawn and the [`save`](ShimIdentity::save) of it a
    /// runtime that is killed loses the shim: [`identity_file`](crate::ShimSpawner::identity_file)
    /// leaves no such gap.
    ///
    /// # Errors
    /// As [`ShimIdentity::of`]: `ESRCH` once it was reaped; `ENOENT` without /proc.
    pub fn identity(&self) -> io::Result<ShimIdentity> {
        let identity = ShimIdentity::of(self.process())?;
        Ok(identity.supervised(self.child.stop_policy(), self.is_attached()))
    }

    /// Stop signal, grace period, SIGKILL, reap; how it ended, where that is ours to know. One that
    /// is stopped by a signal is continued, so that it can obey. One that is already dead is only
    /// reaped.
    ///
    /// Under a [supervisor](crate::ShimSpawner::supervised) it is the tree that is stopped: this
    /// comes back when the tree is gone, with the program's exit. An exit by SIGKILL may mean as
    /// well that the tree was not gone ten seconds after its grace period; what the supervisor
    /// started besides goes on killing it.
    ///
    /// Waits at most the grace period and ten seconds; under a supervisor twenty.
    ///
    /// # Errors
    /// [`StopError`]; the handler goes on holding the shim.
    pub fn stop(&mut self) -> Result<Exit, StopError> {
        let policy = self.child.stop_policy();
        self.signal(policy.stop_signal())?;
        // A stopped process takes SIGTERM only when it is continued.
        self.signal(Signal::CONT)?;
        let exit = match self.process().wait_timeout(policy.grace_period())? {
            Some(exit) => exit,
            None => self.kill_and_wait()?,
        };
        Ok(self.settle(exit))
    }

    fn kill_and_wait(&self) -> Result<Exit, StopError> {
        self.signal(Signal::KILL)?;
        self.process()
            .wait_timeout(KILL_WAIT)?
            .ok_or(StopError::StillAlive { pid: self.pid() })
    }

    /// SIGKILL; does not wait. One that is dead already is no error. Under a
    /// [supervisor](crate::ShimSpawner::supervised) the tree is stopped then, grace period and all,
    /// and nobody hears when it is gone: [`stop`](ShimHandler::stop) is what waits for that.
    ///
    /// # Errors
    /// `EPERM` for a process of another user.
    pub fn kill(&self) -> Result<(), Error> {
        self.signal(Signal::KILL)
    }

    fn signal(&self, signal: Signal) -> Result<(), Error> {
        match self.process().send_signal(signal) {
            Err(Error::NotFound(_)) => Ok(()),
            sent => sent,
        }
    }

    /// Waits for the exit and reaps.
    ///
    /// # Errors
    /// As [`Process::wait`].
    pub fn wait(&mut self) -> Result<Exit, Error> {
        let exit = self.process().wait()?;
        Ok(self.settle(exit))
    }

    /// The exit, if it has come; reaps then.
    ///
    /// # Errors
    /// As [`Process::try_wait`].
    pub fn try_wait(&mut self) -> Result<Option<Exit>, Error> {
        let exit = self.process().try_wait()?;
        Ok(exit.map(|exit| self.settle(exit)))
    }

    /// Calls `callback` once when the shim has exited; at once when it has already. It runs on the
    /// thread of the [watcher that all share](Watcher::global), where every call is allowed but one
    /// that takes long. It reaps nothing: this handler does, or its drop. Dropping the handler
    /// leaves the callback on.
    ///
    /// For a watcher of your own: `watcher.watch(handler.process(), callback)`.
    ///
    /// # Errors
    /// As [`Watcher::watch`], and as [`Watcher::new`] at the first call in this process.
    pub fn on_exit(
        &self,
        callback: impl FnOnce(Exit) + Send + 'static,
    ) -> Result<WatchHandle, Error> {
        Watcher::global()?.watch(self.process(), callback)
    }

    /// The shim's exit as a future, for any executor; it reaps nothing. See [`Process::exited`].
    pub fn exited(&self) -> ExitFuture {
        self.process().exited()
    }

    /// Reaps where it is ours to reap; what is known of the exit is known already.
    fn settle(&mut self, exit: Exit) -> Exit {
        self.keepalive = None;
        self.process().clone().reap().unwrap_or(exit)
    }

    /// Lets an attached shim live on by itself: it is told that it was released. No effect on one
    /// that is not attached.
    ///
    /// # Errors
    /// As [`Keepalive::release`]; the shim is held as before.
    pub fn release(&mut self) -> io::Result<()> {
        match self.keepalive.take().map(Keepalive::release) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(refused)) => {
                let (keepalive, error) = refused.into_parts();
                self.keepalive = Some(keepalive);
                Err(error)
            }
        }
    }

    /// Takes the keepalive out, to be handed over to another process.
    pub fn take_keepalive(&mut self) -> Option<Keepalive> {
        self.keepalive.take()
    }
}
