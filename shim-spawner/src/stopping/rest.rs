//! Who is left of those that are stopped.

use pidfd_watcher::{Error, Pid, Process, Signal};

use crate::StopError;

/// Who is left when the shim itself has ended.
#[derive(Debug)]
pub(super) enum Rest {
    Empty,
    Members(Vec<Process>),
    /// Somebody may be. A later look may tell.
    Unknown,
    /// Somebody may be, and nothing tells them from strangers.
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

/// A process that is gone is no error.
pub(super) fn signal_one(process: &Process, signal: Signal) -> Result<(), StopError> {
    match process.send_signal(signal) {
        Err(Error::NotFound(_)) => Ok(()),
        sent => Ok(sent?),
    }
}
