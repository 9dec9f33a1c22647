//! What a stop has found.

use std::fmt;

use pidfd_watcher::{Exit, Pid};

use crate::StopTarget;

/// What [`ShimHandler::stop`](crate::ShimHandler::stop) has found: the shim has ended, and this is
/// what became of the others.
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
    /// How the shim itself ended, where that is ours to know.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.exit
    }

    /// Which processes the stop was about.
    #[must_use]
    pub fn target(&self) -> StopTarget {
        self.target
    }

    /// Those that outlived the grace period and were sent SIGKILL, the shim itself included. They
    /// are counted just before: one that is born or ends meanwhile may be missing, or be one too
    /// many.
    #[must_use]
    pub fn killed(&self) -> &Tally {
        &self.killed
    }

    /// Those that are left ten seconds after SIGKILL: the kernel holds them in an uninterruptible
    /// wait, or they are another user's.
    #[must_use]
    pub fn left(&self) -> &Tally {
        &self.left
    }

    /// Whether nobody is left, beyond doubt.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left.count() == Some(0)
    }
}

/// Some processes, as far as they are known.
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

    /// Adds processes of which some may be in it already. `None`: there are more, and nobody knows
    /// how many.
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

    /// How many; `None` where that cannot be known: `/proc` is missing, or tells nothing of
    /// processes that are no children of this one before Linux 6.9; the reports of a supervisor
    /// went to the process that started it.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        self.count
    }

    /// The numbers that those had which are known one by one: of a group or a cgroup, and not of a
    /// tree. For messages: a number may be another process's by now.
    #[must_use]
    pub fn pids(&self) -> &[Pid] {
        &self.pids
    }
}

/// In a line, however many they are.
impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally")
            .field("count", &self.count)
            .field("pids", &self.pids.len())
            .finish()
    }
}
