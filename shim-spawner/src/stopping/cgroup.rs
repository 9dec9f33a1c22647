//! The processes of a cgroup.

use std::io;

use pidfd_watcher::{Process, Signal};

use super::rest::Rest;
use crate::StopError;
use crate::cgroup::CgroupFolder;
use crate::sys;

/// Refuses a cgroup that this process is in.
pub(super) fn check(folder: &CgroupFolder) -> Result<(), StopError> {
    let own = sys::own_pid().map_err(|errno| StopError::Cgroup(errno.into()))?;
    let members = folder.numbers().map_err(StopError::Cgroup)?;
    if members.contains(&own.as_raw_nonzero().get()) {
        return Err(StopError::OwnProcess);
    }
    Ok(())
}

/// Signals every member, and the leader if it is not a member. A process of another user is not
/// signalled; the report shows it.
pub(super) fn signal(folder: &CgroupFolder, leader: &Process, signal: Signal) -> io::Result<()> {
    if signal != Signal::KILL || folder.kill().is_err() {
        let signalled = folder.signal(signal)?;
        if signalled
            .numbers
            .contains(&leader.pid().as_raw_nonzero().get())
        {
            return Ok(());
        }
    }
    match leader.send_signal(signal) {
        Ok(()) | Err(pidfd_watcher::Error::NotFound(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn rest(folder: &CgroupFolder) -> io::Result<Rest> {
    if !folder.is_populated()? {
        return Ok(Rest::Empty);
    }
    let members = folder.members().unwrap_or_default();
    Ok(if members.is_empty() {
        // They are about to end, or are not visible in this PID namespace.
        Rest::Unknown
    } else {
        Rest::Members(members)
    })
}
