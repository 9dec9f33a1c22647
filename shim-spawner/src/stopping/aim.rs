//! Which processes a stop signals.

use std::sync::Arc;

use pidfd_watcher::{Pid, Process, Signal};

use super::reports::Reports;
use super::rest::{Rest, signal_one};
use super::{cgroup, group};
use crate::cgroup::CgroupFolder;
use crate::{StopError, StopTarget, Tally};

/// A [`StopTarget`] with the handles to reach its processes.
#[derive(Clone, Debug)]
pub(crate) enum Aim {
    Leader,
    Group,
    /// `None`: no cgroup was set.
    Cgroup(Option<Arc<CgroupFolder>>),
    /// With the supervisor's reports, if this process receives them.
    Tree(Option<Arc<Reports>>),
}

impl Aim {
    /// An aim that needs nothing but the shim's handle.
    pub(crate) fn new(target: StopTarget) -> Aim {
        match target {
            StopTarget::Leader => Aim::Leader,
            StopTarget::Group => Aim::Group,
            StopTarget::Cgroup => Aim::Cgroup(None),
            StopTarget::Tree => Aim::Tree(None),
        }
    }

    pub(crate) fn target(&self) -> StopTarget {
        match self {
            Aim::Leader => StopTarget::Leader,
            Aim::Group => StopTarget::Group,
            Aim::Cgroup(_) => StopTarget::Cgroup,
            Aim::Tree(_) => StopTarget::Tree,
        }
    }

    /// Refuses a target that includes this process itself, before anything is signalled.
    pub(super) fn check(&self, leader: &Process) -> Result<(), StopError> {
        match self {
            Aim::Leader | Aim::Tree(_) => Ok(()),
            Aim::Group => group::check(leader),
            Aim::Cgroup(Some(folder)) => cgroup::check(folder),
            Aim::Cgroup(None) => Err(StopError::NoCgroup),
        }
    }

    /// Sends SIGKILL to all of them, unless this process is one.
    pub(crate) fn kill(&self, leader: &Process) -> Result<(), StopError> {
        self.check(leader)?;
        self.signal(leader, Signal::KILL)
    }

    /// If there is no process left to signal, that is not an error.
    pub(super) fn signal(&self, leader: &Process, signal: Signal) -> Result<(), StopError> {
        match self {
            Aim::Leader | Aim::Tree(_) => signal_one(leader, signal),
            Aim::Group => group::signal(leader, signal),
            Aim::Cgroup(Some(folder)) => {
                cgroup::signal(folder, leader, signal).map_err(StopError::Cgroup)
            }
            Aim::Cgroup(None) => Err(StopError::NoCgroup),
        }
    }

    /// Which processes are left. The shim has exited. `after_kill`: no signal will go to the
    /// group's id any more.
    pub(super) fn rest(&self, leader: &Process, after_kill: bool) -> Result<Rest, StopError> {
        match self {
            Aim::Leader | Aim::Tree(_) | Aim::Cgroup(None) => Ok(Rest::Empty),
            Aim::Group => Ok(group::rest(leader, after_kill)),
            Aim::Cgroup(Some(folder)) => cgroup::rest(folder).map_err(StopError::Cgroup),
        }
    }

    /// All of them, including the shim. `None`: not known.
    pub(super) fn members(&self, leader: &Process) -> Option<Vec<Pid>> {
        match self {
            Aim::Leader => Some(Vec::new()),
            Aim::Tree(_) | Aim::Cgroup(None) => None,
            Aim::Group => Rest::Members(leader.group_members().ok()?).pids(),
            Aim::Cgroup(Some(folder)) => Rest::Members(folder.members().ok()?).pids(),
        }
    }

    /// The killed and the remaining processes, if another process has counted them.
    pub(super) fn reported(&self) -> Option<(Tally, Tally)> {
        match self {
            Aim::Tree(Some(reports)) => Some(reports.tallies()),
            Aim::Tree(None) => Some((Tally::unknown(), Tally::unknown())),
            Aim::Leader | Aim::Group | Aim::Cgroup(_) => None,
        }
    }
}
