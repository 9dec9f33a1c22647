//! A shim that was spawned.

use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pidfd_watcher::{Pid, Process};
use watchdog_pipe::{Guarantees, Keepalive, StopPolicy};

use crate::stopping::Aim;
use crate::{Level, StopTarget};

/// A running shim: the process, and the keepalive from which it learns of this process's end.
///
/// Dropping it drops the keepalive, and an attached shim learns of that: if it has a watchdog, it
/// stops itself. When it exits, it is reaped in the background.
#[derive(Debug)]
#[non_exhaustive]
#[must_use = "dropping the keepalive tells the shim to stop"]
pub struct SpawnedShim {
    /// The process and its streams.
    pub child: ShimChild,
    /// The link to an attached shim. Keep it as long as the shim must live. `None` if the shim is
    /// detached.
    pub keepalive: Option<Keepalive>,
}

impl SpawnedShim {
    /// How and when the shim learns of this process's end. Empty if it is detached or has no
    /// keepalive.
    ///
    /// The shim only *learns* of the end. Whether it ends depends on its program: one with a
    /// [`Watchdog`](watchdog_pipe::Watchdog) does.
    #[must_use]
    pub fn guarantees(&self) -> Guarantees {
        guarantees_of(self.keepalive.as_ref())
    }

    /// What is promised about the shim when this process ends. `None` if it is detached or has no
    /// keepalive.
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        self.keepalive.as_ref().map(|_| self.child.level())
    }
}

/// The guarantees of a shim with this keepalive, or with none.
pub(crate) fn guarantees_of(keepalive: Option<&Keepalive>) -> Guarantees {
    keepalive.map_or(Guarantees::empty(), Keepalive::guarantees)
}

/// The process of a shim and our ends of its pipes.
///
/// Dropping it never waits: a process that still runs is reaped in the background when it exits.
#[derive(Debug)]
pub struct ShimChild {
    /// Our end of the standard input, if it is piped.
    pub stdin: Option<ChildStdin>,
    /// Our end of the standard output, if it is piped.
    pub stdout: Option<ChildStdout>,
    /// Our end of the standard error, if it is piped.
    pub stderr: Option<ChildStderr>,
    process: Process,
    policy: StopPolicy,
    aim: Aim,
    level: Level,
    /// The kernel kills and reaps it when the last handle is closed.
    killed_on_close: bool,
    /// A stop goes on without its handler, and reaps the shim. Before Linux 6.9 the group has no
    /// other name than the shim's pid, which the shim keeps until then.
    stop_goes_on: Arc<AtomicBool>,
}

impl ShimChild {
    pub(crate) fn new(process: Process, policy: StopPolicy, aim: Aim, level: Level) -> ShimChild {
        ShimChild {
            stdin: None,
            stdout: None,
            stderr: None,
            process,
            policy,
            aim,
            level,
            killed_on_close: false,
            stop_goes_on: Arc::new(AtomicBool::new(false)),
        }
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

    /// How it is stopped.
    #[must_use]
    pub fn stop_policy(&self) -> StopPolicy {
        self.policy
    }

    /// Which processes a stop is about.
    #[must_use]
    pub fn stop_target(&self) -> StopTarget {
        self.aim.target()
    }

    pub(crate) fn aim(&self) -> &Aim {
        &self.aim
    }

    pub(crate) fn set_aim(&mut self, aim: Aim) {
        self.aim = aim;
    }

    /// Whether the kernel kills it when this process dies or drops the handle: see
    /// [`ShimSpawner::kill_on_close`](crate::ShimSpawner::kill_on_close).
    #[must_use]
    pub fn is_killed_on_close(&self) -> bool {
        self.killed_on_close
    }

    pub(crate) fn stop_goes_on(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop_goes_on)
    }

    pub(crate) fn set_killed_on_close(&mut self, killed: bool) {
        self.killed_on_close = killed;
    }

    pub(crate) fn level(&self) -> Level {
        self.level
    }

    pub(crate) fn set_stop_policy(&mut self, policy: StopPolicy) {
        self.policy = policy;
    }
}

impl Drop for ShimChild {
    fn drop(&mut self) {
        // A watch for its exit would keep the last handle open.
        if !self.killed_on_close && !self.stop_goes_on.load(Ordering::Relaxed) {
            self.process.reap_when_exited();
        }
    }
}
