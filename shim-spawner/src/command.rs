//! The watchdog and the descriptors for std's own `Command`.

use std::process::{Child, Command};

use fd_preserve::{Applied, Error as FdError, PreserveFds};
use pidfd_watcher::{ChildError, ChildProcess};
use watchdog_pipe::{Keepalive, StopPolicy};

use crate::internal_fds;
use crate::stopping::Aim;
use crate::sys::{self, Limit};
use crate::{Level, ShimChild, ShimHandler, SpawnError, SpawnedShim, Stage, StopTarget};

/// Makes the child of a std `Command` a shim, for callers who must keep their `Command`: it is
/// created by std, and costs what a child with a `pre_exec` closure costs there.
/// [`ShimSpawner`](crate::ShimSpawner) can do more, at the price of a vfork.
///
/// The name is that of a trait of std's: `use shim_spawner::CommandExt as _` goes along with it.
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
    /// no other from 3 up ([`PreserveFds::other_fds`]). The watchdog's own lie on number 49 and
    /// below, out of the way of those, and a variable names them.
    ///
    /// The link is one child's: spawn once, and make the next command for the next child. Do not
    /// clear the environment after this call.
    ///
    /// # Errors
    /// - [`Stage::Watchdog`]: the link could not be made.
    /// - [`Stage::Descriptors`]: as [`PreserveFds::apply`]. A command that has a plan already is
    ///   refused.
    ///
    /// The command is as it was then.
    fn attach(&mut self, fds: PreserveFds, policy: StopPolicy) -> Result<CommandLink, SpawnError>;
}

/// The link to the child of a command. Dropping it tells the child to stop.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "dropping the keepalive tells the child to stop"]
pub struct CommandLink {
    /// To be held as long as the child shall live.
    pub keepalive: Keepalive,
    /// Explains an error of the spawn that comes from the descriptors.
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
                    // One of the caller's.
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
    /// Takes charge of the child that the command has spawned: stop, wait, release as of any shim.
    /// A stop is about the child's process group if it leads one (`process_group(0)`), and about
    /// the child alone if not.
    ///
    /// # Errors
    /// As [`ChildProcess::new`], with the child. The keepalive is dropped: a child with a watchdog
    /// ends.
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
