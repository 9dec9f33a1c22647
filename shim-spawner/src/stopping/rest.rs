//! The processes of a stop that are left.

use pidfd_watcher::{Error, Pid, Process, Signal};

use crate::StopError;

/// The processes that are left when the shim itself has ended.
#[derive(Debug)]
pub(super) enum Rest {
    Empty,
    Members(Vec<Process>),
    /// There may be some. A later check may find out.
    Unknown,
    /// There may be some, and nothing tells them from strangers.
    Unprovable,
}

impl Rest {
    /// `None`: not known.
    pub(super) fn pids(&self) -> Option<Vec<Pid>> {
        match self {
            Rest::Empty => Some(Vec::new()),
            Rest::Members(members) => Some(members.iter().map(Process::pid).collect()),
            Rest::Unknown | Rest::Unprovable => None,
        }
    }
}

/// Signals one process. If it is gone, that is not an error.
pub(super) fn signal_one(process: &Process, signal: Signal) -> Result<(), StopError> {
    match process.send_signal(signal) {
        Err(Error::NotFound(_)) => Ok(()),
        sent => Ok(sent?),
    }
}
