//! A handle that supervises a shim: stop it, wait for it, let it go, find it again.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::sync::Arc;
use std::time::Duration;

use pidfd_watcher::{Error, Exit, ExitFuture, Pid, Process, Signal, WatchHandle, Watcher};
use watchdog_pipe::{Guarantees, Keepalive, StopPolicy};

use crate::attachment::Attachment;
use crate::cgroup::CgroupFolder;
use crate::shim::guarantees_of;
use crate::stop_future::StopFuture;
use crate::stopping::{Aim, Next, Stopping};
use crate::sys::{nap, own_pid};
use crate::{
    AdoptError, Level, ShimChild, ShimIdentity, SpawnedShim, StopError, StopReport, StopTarget,
    events,
};

/// Supervises one shim. Dropping it drops the keepalive, and an attached shim learns of that: if it
/// has a watchdog, it stops itself, even if nobody called [`stop`](ShimHandler::stop). A detached
/// or adopted shim learns nothing. When a child of this process exits, it is reaped in the
/// background.
#[derive(Debug)]
#[must_use = "dropping the handler tells an attached shim to stop"]
pub struct ShimHandler {
    child: ShimChild,
    attachment: Attachment,
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
            attachment: Attachment::new(shim.keepalive, shim.child.pid()),
            child: shim.child,
        }
    }

    /// Finds a shim again after a restart of the runtime. Returns the same process or an error,
    /// never a stranger. The handler has no keepalive, so dropping it leaves the shim alone.
    /// [`stop`](ShimHandler::stop) uses the stop policy in the identity, or the default one if
    /// there is none. It stops the [target](StopTarget) in the identity, or the shim alone if there
    /// is none. An identity does not contain the cgroup: call
    /// [`stop_cgroup`](ShimHandler::stop_cgroup) again.
    ///
    /// # Errors
    /// A typed [`AdoptError`]: gone, pid reused, another boot, another PID namespace. An identity
    /// that names the calling process counts as one whose pid was reused.
    pub fn adopt(identity: &ShimIdentity) -> Result<ShimHandler, AdoptError> {
        let opened = identity.open().and_then(|process| {
            // A false identity may name this process, which would stop itself, or wait for its own
            // end.
            if own_pid().is_ok_and(|own| own == process.pid()) {
                return Err(AdoptError::PidReused);
            }
            Ok(process)
        });
        let process = opened.inspect_err(|error| events::not_adopted(identity.pid(), error))?;
        events::adopted(process.pid());
        let child = ShimChild::new(
            process,
            identity.stop_policy().unwrap_or_default(),
            Aim::new(identity.stop_target().unwrap_or(StopTarget::Leader)),
            Level::Told,
        );
        Ok(ShimHandler {
            attachment: Attachment::new(None, child.pid()),
            child,
        })
    }

    /// Takes over the link to the shim, with a keepalive that the shim's former runtime handed
    /// over. From now on the shim is attached to this process. [This explains how to keep it over a
    /// restart](crate#over-a-restart-of-the-service).
    pub fn attach(mut self, keepalive: Keepalive) -> ShimHandler {
        self.attachment.keepalive = Some(keepalive);
        self
    }

    /// How [`stop`](ShimHandler::stop) stops the shim. Replaces the policy from the spawner or the
    /// identity.
    pub fn stop_policy(mut self, policy: StopPolicy) -> ShimHandler {
        self.child.set_stop_policy(policy);
        self
    }

    /// Which processes [`stop`](ShimHandler::stop) and [`kill`](ShimHandler::kill) stop. Replaces
    /// the target from the spawner or the identity.
    ///
    /// For a shim that leads no group, [`StopTarget::Group`] is the shim alone. For a shim that has
    /// no supervisor, [`StopTarget::Tree`] is the shim alone too, and the report does not know who
    /// is left.
    pub fn stop_target(mut self, target: StopTarget) -> ShimHandler {
        if target != self.child.stop_target() {
            self.child.set_aim(Aim::new(target));
        }
        self
    }

    /// The same for a cgroup (version 2) with this folder: [`StopTarget::Cgroup`].
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

    /// Whether this handler has a keepalive: the shim then learns when the handler is dropped and
    /// when this process dies.
    ///
    /// Whether the shim then ends depends on its program. One without a
    /// [`Watchdog`](watchdog_pipe::Watchdog) does not listen, and goes on.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.attachment.keepalive.is_some()
    }

    /// How and when the shim learns of this process's end. Empty if it is not attached.
    #[must_use]
    pub fn guarantees(&self) -> Guarantees {
        guarantees_of(self.attachment.keepalive.as_ref())
    }

    /// Whether the kernel kills the shim when this process dies or drops this handler: see
    /// [`ShimSpawner::kill_on_close`](crate::ShimSpawner::kill_on_close).
    #[must_use]
    pub fn is_killed_on_close(&self) -> bool {
        self.child.is_killed_on_close()
    }

    /// What is promised about the shim when this process ends. `None` if it is not attached. At
    /// least [`Level::Told`] if it was [attached](ShimHandler::attach) again; more is not known
    /// then.
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        self.attachment
            .keepalive
            .as_ref()
            .map(|_| self.child.level())
    }

    /// An identity by which another process can find this shim. It contains the stop policy, and
    /// whether this handler has a keepalive. A runtime that is killed between a spawn and the
    /// [`save`](ShimIdentity::save) of the identity loses the shim.
    /// [`identity_file`](crate::ShimSpawner::identity_file) has no such gap.
    ///
    /// # Errors
    /// As [`ShimIdentity::of`]: `ESRCH` once the shim was reaped; `ENOENT` without /proc.
    pub fn identity(&self) -> io::Result<ShimIdentity> {
        let identity = ShimIdentity::of(self.process())?;
        let (policy, target) = (self.child.stop_policy(), self.child.stop_target());
        Ok(identity.supervised(policy, target, self.is_attached()))
    }

    /// Stops the shim: stop signal, grace period, SIGKILL, reap. Returns when the shim has ended
    /// and nobody of its [target](StopTarget) is left. The default target is its process group.
    ///
    /// The stop signal goes to the whole target at once. Processes that are stopped by a signal are
    /// continued, so that they can react. The grace period ends early when nobody is left. After
    /// it, those that are left get SIGKILL, and have ten seconds to disappear. If the shim has
    /// ended before, it is reaped, and the others are still stopped.
    ///
    /// Under a [supervisor](crate::ShimSpawner::supervised) the whole tree is stopped. This returns
    /// when the tree is gone, with the program's exit. If the supervisor has not finished ten
    /// seconds after the grace period, it is killed. Its other processes then continue to kill the
    /// tree.
    ///
    /// No stranger is ever signalled. Before Linux 6.9, if the shim was reaped meanwhile, its group
    /// cannot be distinguished from others. Then the report cannot say who is left either.
    ///
    /// Waits at most for the grace period and ten seconds; under a supervisor twenty seconds.
    ///
    /// # Errors
    /// [`StopError`]. The handler still has the shim.
    pub fn stop(&mut self) -> Result<StopReport, StopError> {
        let mut stopping = self.stopping();
        let report = drive(&mut stopping).inspect_err(|error| stopping.failed(error))?;
        self.attachment.keepalive = None;
        Ok(report)
    }

    /// The same as a future, for any executor. No thread waits, and the only thread that is started
    /// is that of the [watcher that the whole process shares](Watcher::global), which also provides
    /// the timer.
    ///
    /// # When it is dropped
    ///
    /// If it was not polled yet, nothing has begun. After the first poll **the stop goes on**:
    /// SIGKILL still comes after the grace period, and the shim is reaped. The watcher's thread
    /// then does this. To learn the result, call this or [`stop`](ShimHandler::stop) again. The
    /// second stop sends the stop signal once more, and has its own grace period.
    ///
    /// # Errors
    /// As [`stop`](ShimHandler::stop). Also if the watcher or its timer cannot be started, before
    /// anybody is signalled.
    pub async fn stop_async(&mut self) -> Result<StopReport, StopError> {
        let report = StopFuture::new(self.stopping(), self.child.stop_goes_on()).await?;
        self.attachment.keepalive = None;
        Ok(report)
    }

    fn stopping(&self) -> Stopping {
        let (process, aim) = (self.process().clone(), self.child.aim().clone());
        Stopping::new(process, aim, self.child.stop_policy())
    }

    /// Sends SIGKILL to the whole [target](StopTarget); does not wait. It is no error if there is
    /// nobody to kill. Under a [supervisor](crate::ShimSpawner::supervised) this stops the tree
    /// instead, with the grace period, and does not report when it is gone.
    /// [`stop`](ShimHandler::stop) waits for that.
    ///
    /// # Errors
    /// As [`stop`](ShimHandler::stop): `EPERM` for processes of another user.
    pub fn kill(&self) -> Result<(), StopError> {
        self.child.aim().kill(self.process())
    }

    /// Sends a signal to the shim itself, whatever the [target](StopTarget) is.
    ///
    /// # Errors
    /// As [`Process::send_signal`]: [`NotFound`](Error::NotFound) once the shim was reaped.
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

    /// The exit, if it has come. In that case it also reaps.
    ///
    /// # Errors
    /// As [`Process::try_wait`].
    pub fn try_wait(&mut self) -> Result<Option<Exit>, Error> {
        let exit = self.process().try_wait()?;
        Ok(exit.map(|exit| self.settle(exit)))
    }

    /// Waits for the exit at most for `timeout`, on the monotonic clock, and reaps if it has come.
    /// Zero looks once.
    ///
    /// # Errors
    /// As [`Process::wait_timeout`].
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Option<Exit>, Error> {
        let exit = self.process().wait_timeout(timeout)?;
        Ok(exit.map(|exit| self.settle(exit)))
    }

    /// Waits for the exit and reaps, on any executor. If it is dropped before it is ready, it has
    /// done nothing. [`exited`](ShimHandler::exited) borrows nothing, and reaps nothing.
    ///
    /// # Errors
    /// As [`Process::exited`].
    pub async fn wait_async(&mut self) -> Result<Exit, Error> {
        let exit = self.exited().await?;
        Ok(self.settle(exit))
    }

    /// As [`wait_timeout`](ShimHandler::wait_timeout), on any executor. If it is dropped before it
    /// is ready, it has done nothing.
    ///
    /// # Errors
    /// As [`Watcher::exited_within`], and as [`Watcher::new`] at the first call in this process.
    pub async fn wait_timeout_async(&mut self, timeout: Duration) -> Result<Option<Exit>, Error> {
        let exited = Watcher::global()?.exited_within(self.process(), timeout);
        let exit = exited.await?;
        Ok(exit.map(|exit| self.settle(exit)))
    }

    /// Calls `callback` once when the shim has exited; at once if it has exited already. The
    /// callback runs on the thread of the [watcher that the whole process shares](Watcher::global).
    /// It may make every call, but must not take long. This reaps nothing: the handler does, or its
    /// drop. Dropping the handler does not cancel the callback.
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

    /// Reaps the shim if this process can. Otherwise returns `exit`.
    fn settle(&mut self, exit: Exit) -> Exit {
        self.attachment.keepalive = None;
        self.process().clone().reap().unwrap_or(exit)
    }

    /// Lets an attached shim live on by itself: it learns that it was released. Has no effect if it
    /// is not attached.
    ///
    /// # Errors
    /// As [`Keepalive::release`]. The shim is then attached as before.
    pub fn release(&mut self) -> io::Result<()> {
        match self.attachment.keepalive.take().map(Keepalive::release) {
            None => Ok(()),
            Some(Ok(())) => {
                events::released(self.pid());
                Ok(())
            }
            Some(Err(refused)) => {
                let (keepalive, error) = refused.into_parts();
                self.attachment.keepalive = Some(keepalive);
                events::not_released(self.pid(), &error);
                Err(error)
            }
        }
    }

    /// Takes the keepalive out, for example to hand it over to another process.
    pub fn take_keepalive(&mut self) -> Option<Keepalive> {
        self.attachment.keepalive.take()
    }
}

/// Waits between the steps.
fn drive(stopping: &mut Stopping) -> Result<StopReport, StopError> {
    loop {
        match stopping.step()? {
            Next::Exit(process, None) => drop(process.wait()?),
            Next::Exit(process, Some(time)) => drop(process.wait_timeout(time)?),
            Next::Time(time) => nap(time),
            Next::Done(report) => return Ok(report),
        }
    }
}
