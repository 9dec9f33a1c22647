//! The process group that a shim leads.

use pidfd_watcher::{Error, Process, Signal};

use super::rest::{Rest, signal_one};
use crate::StopError;
use crate::sys;

/// Refuses the group of this process, which a signal would hit too.
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
        // Before Linux 6.9, of a shim that is no child of ours: one by one. Where the shim is gone
        // nobody can be told from strangers, and nobody is signalled.
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
    // It may have left its group.
    if sys::group_of(leader.pid()).is_ok_and(|group| group != Some(leader.pid())) {
        signal_one(leader, signal)?;
    }
    Ok(())
}

/// The leader has exited.
pub(super) fn rest(leader: &Process, after_kill: bool) -> Rest {
    if leader.names_group_without_leader() {
        // A zombie is a member: reaped, the leader is none any more, and one call tells the rest.
        let _ = leader.clone().reap();
        if let Ok(false) = leader.group_exists() {
            return Rest::Empty;
        }
    }
    match leader.group_members() {
        Ok(members) if !members.is_empty() => Rest::Members(members),
        // Zombies, it seems: those that somebody else has to reap.
        Ok(_) => zombies(leader),
        Err(_) if after_kill => {
            let _ = leader.clone().reap();
            match leader.group_exists() {
                Ok(false) => Rest::Empty,
                // Those that were killed may be on their way, and the number free soon.
                Ok(true) | Err(_) => Rest::Unknown,
            }
        }
        Err(_) => match leader.group_exists() {
            Ok(_) => Rest::Unknown,
            Err(_) => Rest::Unprovable,
        },
    }
}

/// Nobody lives, by one look at `/proc`: it can miss a process that forks and ends without pause. A
/// second one finds most. SIGKILL, which misses none, ends whoever is left then, and does nothing
/// to zombies.
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
