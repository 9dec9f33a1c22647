//! The watchdog and the descriptors for a child of std's own `Command`.

use std::process::{Child, Command};

use fd_preserve::{Applied, Error as FdError, PreserveFds};
use pidfd_watcher::{ChildError, ChildProcess};
use watchdog_pipe::{Keepalive, StopPolicy};

use crate::internal_fds;
use crate::stopping::Aim;
use crate::sys::{self, Limit};
use crate::{Level, ShimChild, ShimHandler, SpawnError, SpawnedShim, Stage, StopTarget};

/// Makes the child of a std `Command` a shim, for callers that must keep their `Command`. Std
/// creates the child, and the spawn costs what it costs with a `pre_exec` closure.
/// [`ShimSpawner`](crate::ShimSpawner) can do more, at the price of a vfork.
///
/// A trait of std has the same name. `use shim_spawner::CommandExt as _` avoids the conflict.
///
/// ```no_run
/// use std::process::Command;
/// use shim_spawner::{CommandExt as _, PreserveFds, StopPolicy};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut command = Command::new("/usr/libexec/my-shim");
/// let link = command.attach(PreserveFds::new(), StopPolicy::new())?;
/// let mut shim = link.handle(command.spawn()?)?; // a ShimHandler
/// let _ = shim.stop()?;
/// # Ok(())
/// # }
/// ```
pub trait CommandExt {
    /// Gives the next child a [`Watchdog`](watchdog_pipe::Watchdog), the descriptors of `fds`, and
    /// no other from 3 up ([`PreserveFds::other_fds`]). The watchdog's own descriptors get free
    /// numbers from 49 down, and a variable names them.
    ///
    /// The link is for one child. Spawn once, and make a new command for the next child. Do not
    /// clear the environment after this call.
    ///
    /// # Errors
    /// - [`Stage::Watchdog`]: the link could not be made.
    /// - [`Stage::Descriptors`]: as [`PreserveFds::apply`]. A command that has a plan already is
    ///   refused.
    ///
    /// After an error, the command is as it was before.
    fn attach(&mut self, fds: PreserveFds, policy: StopPolicy) -> Result<CommandLink, SpawnError>;
}

/// The link to the child of a command. To drop it tells the child to stop.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "dropping the keepalive tells the child to stop"]
pub struct CommandLink {
    /// Hold it as long as the child is to live.
    pub keepalive: Keepalive,
    /// Explains an error of the spawn that the descriptors caused.
    pub applied: Applied,
    policy: StopPolicy,
}

impl CommandExt for Command {
    fn attach(
        &mut self,
        mut fds: PreserveFds,
        policy: StopPolicy,
    ) -> Result<CommandLink, SpawnError> {
        let channel = watchdog_pipe::Builder::new().stop_policy(policy).channel();
        let (keepalive, mut setup) =
            channel.map_err(|error| SpawnError::io(Stage::Watchdog, error))?;
        let limit = sys::soft_limit(Limit::OpenFiles).unwrap_or(u64::MAX);
        let mut candidates = internal_fds::candidates(None, limit);
        let mut numbers = Vec::new();
        for (fd, _) in setup.shared_fds() {
            let put = candidates.find_map(|number| {
                match fds.map_shared_fd(fd.clone(), number) {
                    // One of the caller's numbers.
                    Err(FdError::DuplicateTarget { .. }) => None,
                    put => Some(put.map(|_| number)),
                }
            });
            let none = "no number is left for an internal descriptor";
            let put = put.ok_or_else(|| SpawnError::invalid(none))?;
            numbers.push(put.map_err(SpawnError::fds)?);
        }
        setup.renumber_each(numbers);
        let applied = fds.apply(self).map_err(SpawnError::fds)?;
        let (name, value) = setup.env();
        self.env(name, value);
        Ok(CommandLink {
            keepalive,
            applied,
            policy,
        })
    }
}

impl CommandLink {
    /// Makes a handler of the child that the command has spawned. Stop, wait and release work as
    /// for any shim. A stop signals the child's process group if the child leads one
    /// (`process_group(0)`), and otherwise the child alone.
    ///
    /// # Errors
    /// As [`ChildProcess::new`], with the child. The keepalive is dropped, so a child with a
    /// watchdog ends.
    pub fn handle(self, child: Child) -> Result<ShimHandler, ChildError> {
        let mut child = ChildProcess::new(child)?;
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let process = child.into_process();
        let leads = sys::group_of(process.pid()) == Ok(Some(process.pid()));
        let target = if leads {
            StopTarget::Group
        } else {
            StopTarget::Leader
        };
        let mut child = ShimChild::new(process, self.policy, Aim::new(target), Level::Told);
        (child.stdin, child.stdout, child.stderr) = streams;
        let keepalive = Some(self.keepalive);
        Ok(ShimHandler::new(SpawnedShim { child, keepalive }))
    }
}
