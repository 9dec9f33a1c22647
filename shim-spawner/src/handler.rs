//! A shim under supervision: stop it, wait for it, let it go, find it again.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::sync::Arc;
use std::time::Duration;

use pidfd_watcher::{Error, Exit, ExitFuture, Pid, Process, Signal, WatchHandle, Watcher};
use watchdog_pipe::{Guarantees, Keepalive, StopPolicy};

use crate::cgroup::CgroupFolder;
use crate::shim::guarantees_of;
use crate::stop_future::StopFuture;
use crate::stopping::{Aim, Next, Stopping};
use crate::sys::{nap, own_pid};
use crate::{
    AdoptError, Level, ShimChild, ShimIdentity, SpawnedShim, StopError, StopReport, StopTarget,
};

/// Supervises one shim. Dropping it drops the keepalive, which an attached shim is told: one with a
/// watchdog stops itself, even if nobody called [`stop`](ShimHandler::stop). A detached or adopted
/// one is told nothing. Whenever a child of this process exits, it is reaped in the background.
#[derive(Debug)]
#[must_use = "dropping the handler tells an attached shim to stop"]
pub struct ShimHandler {
    child: ShimChild,
    keepalive: Option<Keepalive>,
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
    /// default one if there is none. A stop is about the [target](StopTarget) that is in it, and
    /// about the shim alone if there is none. Which cgroup it is does not stand in an identity:
    /// [`stop_cgroup`](ShimHandler::stop_cgroup) says it again.
    ///
    /// # Errors
    /// A typed [`AdoptError`]: gone, pid reused, another boot, another PID namespace. An identity of
    /// the calling process is one of a pid that was reused.
    pub fn adopt(identity: &ShimIdentity) -> Result<ShimHandler, AdoptError> {
        let process = identity.open()?;
        // A false identity may name this process, which would stop itself, or wait for its own end.
        if own_pid().is_ok_and(|own| own == process.pid()) {
            return Err(AdoptError::PidReused);
        }
        let child = ShimChild::new(
            process,
            identity.stop_policy().unwrap_or_default(),
            Aim::new(identity.stop_target().unwrap_or(StopTarget::Leader)),
            Level::Told,
        );
        Ok(ShimHandler {
            child,
            keepalive: None,
        })
    }

    /// Holds the link to the shim by a keepalive that its former runtime handed over: the shim is
    /// attached to this process from now on. [How that comes over a
    /// restart](crate#over-a-restart-of-the-service).
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

    /// Which processes [`stop`](ShimHandler::stop) and [`kill`](ShimHandler::kill) are about, in
    /// place of what the spawner or the identity said.
    ///
    /// [`StopTarget::Group`] of a shim that leads no group is the shim alone. [`StopTarget::Tree`]
    /// of one that has no supervisor is the shim alone too, and the report does not know who is
    /// left.
    pub fn stop_target(mut self, target: StopTarget) -> ShimHandler {
        if target != self.child.stop_target() {
            self.child.set_aim(Aim::new(target));
        }
        self
    }

    /// The same for a cgroup (version 2) whose folder this is: [`StopTarget::Cgroup`].
    pub fn stop_cgroup(mut self, folder: impl Into<OwnedFd>) -> ShimHandler {
        let folder = Arc::new(CgroupFolder::new(folder.into()));
        self.child.set_aim(Aim::Cgroup(Some(folder)));
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

    /// Whether the kernel kills the shim when this process dies or drops this handler: see
    /// [`ShimSpawner::kill_on_close`](crate::ShimSpawner::kill_on_close).
    #[must_use]
    pub fn is_killed_on_close(&self) -> bool {
        self.child.is_killed_on_close()
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
        let (policy, target) = (self.child.stop_policy(), self.child.stop_target());
        Ok(identity.supervised(policy, target, self.is_attached()))
    }

    /// Stop signal, grace period, SIGKILL, reap: comes back when the shim has ended and nobody is
    /// left of its [target](StopTarget), which is its process group unless another one was set.
    ///
    /// The stop signal goes to all of the target at once. Those that are stopped by a signal are
    /// continued, so that they can obey. The grace period ends early when nobody is left; then come
    /// SIGKILL for those that are, and ten seconds for them to vanish. A shim that has ended before
    /// is reaped, and the others are stopped all the same.
    ///
    /// Under a [supervisor](crate::ShimSpawner::supervised) it is the tree that is stopped: this
    /// comes back when the tree is gone, with the program's exit. The supervisor may not have come
    /// to an end ten seconds after the grace period; then it is killed, and what it started besides
    /// goes on killing the tree.
    ///
    /// No stranger is ever signalled. Before Linux 6.9 the group of a shim that was reaped
    /// meanwhile cannot be told from others, nor can the report then say who is left.
    ///
    /// Waits at most the grace period and ten seconds; under a supervisor twenty.
    ///
    /// # Errors
    /// [`StopError`]; the handler goes on holding the shim.
    pub fn stop(&mut self) -> Result<StopReport, StopError> {
        let mut stopping = self.stopping();
        let report = loop {
            match stopping.step()? {
                Next::Exit(process, None) => drop(process.wait()?),
                Next::Exit(process, Some(time)) => drop(process.wait_timeout(time)?),
                Next::Time(time) => nap(time),
                Next::Done(report) => break report,
            }
        };
        self.keepalive = None;
        Ok(report)
    }

    /// The same as a future, for any executor: no thread waits, and none is started but that of the
    /// [watcher that all share](Watcher::global), which also tells the time.
    ///
    /// # When it is dropped
    ///
    /// Before it was first polled: nothing has begun. After that **the stop goes on**: SIGKILL
    /// comes after the grace period all the same, and the shim is reaped. The watcher's thread does
    /// it then. To hear what comes of it, call this or [`stop`](ShimHandler::stop) again: the
    /// second stop sends the stop signal once more, and has a grace period of its own.
    ///
    /// # Errors
    /// As [`stop`](ShimHandler::stop); and where neither the watcher nor its timer can be had,
    /// before anybody is signalled.
    pub async fn stop_async(&mut self) -> Result<StopReport, StopError> {
        let report = StopFuture::new(self.stopping(), self.child.stop_goes_on()).await?;
        self.keepalive = None;
        Ok(report)
    }

    fn stopping(&self) -> Stopping {
        let (process, aim) = (self.process().clone(), self.child.aim().clone());
        Stopping::new(process, aim, self.child.stop_policy())
    }

    /// SIGKILL to all of the [target](StopTarget); does not wait. Nobody to kill is no error. Under
    /// a [supervisor](crate::ShimSpawner::supervised) the tree is stopped then, grace period and
    /// all, and nobody hears when it is gone: [`stop`](ShimHandler::stop) is what waits for that.
    ///
    /// # Errors
    /// As [`stop`](ShimHandler::stop): `EPERM` for processes of another user.
    pub fn kill(&self) -> Result<(), StopError> {
        self.child.aim().kill(self.process())
    }

    /// Sends a signal to the shim itself, whatever the [target](StopTarget) is.
    ///
    /// # Errors
    /// As [`Process::send_signal`]: [`NotFound`](Error::NotFound) once it was reaped.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        self.process().send_signal(signal)
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

    /// Waits for the exit no longer than `timeout`, on the monotonic clock, and reaps if it has
    /// come. Zero looks once.
    ///
    /// # Errors
    /// As [`Process::wait_timeout`].
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Option<Exit>, Error> {
        let exit = self.process().wait_timeout(timeout)?;
        Ok(exit.map(|exit| self.settle(exit)))
    }

    /// Waits for the exit and reaps, on any executor. Dropped before it is ready, it has done
    /// nothing. [`exited`](ShimHandler::exited) borrows nothing, and reaps nothing.
    ///
    /// # Errors
    /// As [`Process::exited`].
    pub async fn wait_async(&mut self) -> Result<Exit, Error> {
        let exit = self.exited().await?;
        Ok(self.settle(exit))
    }

    /// As [`wait_timeout`](ShimHandler::wait_timeout), on any executor. Dropped before it is ready,
    /// it has done nothing.
    ///
    /// # Errors
    /// As [`Watcher::exited_within`], and as [`Watcher::new`] at the first call in this process.
    pub async fn wait_timeout_async(&mut self, timeout: Duration) -> Result<Option<Exit>, Error> {
        let exited = Watcher::global()?.exited_within(self.process(), timeout);
        let exit = exited.await?;
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
