//! The result of a stop.

use std::fmt;

use pidfd_watcher::{Exit, Pid};

use crate::StopTarget;

/// The result of [`ShimHandler::stop`](crate::ShimHandler::stop). The shim has ended; the report
/// tells what happened to the other processes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[must_use = "it says whether somebody is left"]
pub struct StopReport {
    pub(crate) exit: Exit,
    pub(crate) target: StopTarget,
    pub(crate) killed: Tally,
    pub(crate) left: Tally,
}

impl StopReport {
    /// The exit of the shim itself, as far as this process may know it.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Which processes the stop signalled.
    #[must_use]
    pub fn target(&self) -> StopTarget {
        self.target
    }

    /// The processes that outlived the grace period and got SIGKILL, including the shim itself.
    /// They are counted just before the signal. A process that is born or ends meanwhile may be
    /// missing, or be counted too much.
    #[must_use]
    pub fn killed(&self) -> &Tally {
        &self.killed
    }

    /// The processes that still exist ten seconds after SIGKILL: they are in an uninterruptible
    /// wait in the kernel, or belong to another user.
    #[must_use]
    pub fn left(&self) -> &Tally {
        &self.left
    }

    /// Whether it is certain that no process is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left.count() == Some(0)
    }
}

/// A number of processes, as far as it is known.
#[derive(Clone, PartialEq, Eq)]
pub struct Tally {
    count: Option<u64>,
    pids: Vec<Pid>,
}

impl Tally {
    pub(crate) fn none() -> Tally {
        Tally::counted(0)
    }

    pub(crate) fn counted(count: u64) -> Tally {
        Tally {
            count: Some(count),
            pids: Vec::new(),
        }
    }

    pub(crate) fn unknown() -> Tally {
        Tally {
            count: None,
            pids: Vec::new(),
        }
    }

    /// Adds processes, some of which may have been added before. `None`: there are more, and their
    /// number is not known.
    pub(crate) fn add(&mut self, pids: Option<Vec<Pid>>) {
        let Some(pids) = pids else {
            self.count = None;
            return;
        };
        for pid in pids {
            if !self.pids.contains(&pid) {
                self.pids.push(pid);
                self.count = self.count.map(|count| count + 1);
            }
        }
    }

    /// The number of processes. `None` if it cannot be known:
    ///
    /// - `/proc` is missing;
    /// - before Linux 6.9, another process reaped the shim, so its group cannot be proven any more;
    /// - the supervisor's reports went to the process that started it.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        self.count
    }

    /// The pids of the processes that are known one by one: those of a group or a cgroup, but not
    /// of a tree. Use them for messages only: by now another process may have such a pid.
    #[must_use]
    pub fn pids(&self) -> &[Pid] {
        &self.pids
    }
}

/// In one line, however many processes there are.
impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally")
            .field("count", &self.count)
            .field("pids", &self.pids.len())
            .finish()
    }
}
