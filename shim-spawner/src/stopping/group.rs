//! The process group that a shim leads.

use pidfd_watcher::{Error, Process, Signal};

use super::rest::{Rest, signal_one};
use crate::StopError;
use crate::sys;

/// Refuses the group of this process, because a signal would hit this process too.
pub(super) fn check(leader: &Process) -> Result<(), StopError> {
    let own = sys::own_group().map_err(|errno| StopError::Process(Error::Io(errno.into())))?;
    if own == Some(leader.pid()) {
        return Err(StopError::OwnProcess);
    }
    Ok(())
}

pub(super) fn signal(leader: &Process, signal: Signal) -> Result<(), StopError> {
    match leader.send_signal_to_group(signal) {
        Ok(()) | Err(Error::NotFound(_)) => {}
        // Before Linux 6.9, for a shim that is not our child: signal the members one by one. If the
        // shim is gone, members cannot be told from strangers, and no process is signalled.
        Err(Error::Unsupported(_)) => match leader.group_members() {
            Ok(members) => {
                for member in members {
                    signal_one(&member, signal)?;
                }
            }
            Err(_) if matches!(leader.try_wait(), Ok(Some(_))) => {}
            Err(error) => return Err(error.into()),
        },
        Err(error) => return Err(error.into()),
    }
    // The shim may have left its group.
    if sys::group_of(leader.pid()).is_ok_and(|group| group != Some(leader.pid())) {
        signal_one(leader, signal)?;
    }
    Ok(())
}

/// Which members are left. The leader has exited.
pub(super) fn rest(leader: &Process, after_kill: bool) -> Rest {
    if leader.names_group_without_leader() {
        // A zombie is a member. After the leader is reaped, one call shows whether other members
        // exist.
        let _ = leader.clone().reap();
        if let Ok(false) = leader.group_exists() {
            return Rest::Empty;
        }
    }
    match leader.group_members() {
        Ok(members) if !members.is_empty() => Rest::Members(members),
        // Zombies only, it seems, which their parents have to reap.
        Ok(_) => zombies(leader),
        Err(_) if after_kill => {
            let _ = leader.clone().reap();
            match leader.group_exists() {
                Ok(false) => Rest::Empty,
                // The killed processes may be about to end, and then the group's id is free.
                Ok(true) | Err(_) => Rest::Unknown,
            }
        }
        Err(_) => match leader.group_exists() {
            Ok(_) => Rest::Unknown,
            Err(_) => Rest::Unprovable,
        },
    }
}

/// One read of `/proc` shows no process alive. It can miss a process that forks and ends without
/// pause. A second read finds most of them. SIGKILL misses none: it ends whatever is left then, and
/// does nothing to zombies.
fn zombies(leader: &Process) -> Rest {
    match leader.group_members() {
        Ok(members) if members.is_empty() => {
            let _ = leader.send_signal_to_group(Signal::KILL);
            Rest::Empty
        }
        Ok(members) => Rest::Members(members),
        Err(_) => Rest::Unknown,
    }
}
