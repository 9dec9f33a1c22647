//! What is known of a shim, and how it is found by that.

use std::io;

use pidfd_watcher::{Pid, Process};
use watchdog_pipe::StopPolicy;

use super::boot::BootId;
use super::draft::Draft;
use super::error::AdoptError;
use super::witness::{self, Seen};
use crate::StopTarget;

/// What a runtime writes down about a shim, to find it again after its own restart.
///
/// A process id alone does not do: by the time the file is read, the number may be a stranger's.
/// So an identity holds as well
///
/// - the start time of the process ([`/proc/PID/stat`][stat], field 22: clock ticks after boot),
/// - the boot's id, since both start again with every boot,
/// - the PID namespace in which the number counts: that of the process that made the identity,
/// - the inode of the pidfd, since Linux 6.9: unique to one process for as long as the system runs.
///
/// All of it must fit. Without that inode, two processes can in theory share the rest: one that
/// gets the number of another within the same clock tick, mostly 10 ms.
/// [`proven`](ShimIdentity::proven) tells which one it is.
///
/// # Text
///
/// `Display` and `FromStr` write and read what stands in the file:
///
/// ```text
/// shim-identity 1
/// pid 4711
/// start-time 567890
/// boot-id 268429ef-c8c2-4b1e-b0e1-ed5cf45ddbe0
/// pid-namespace 4026531836
/// pidfs-inode 3589
/// stop-signal 15
/// stop-grace 5.000000000
/// stop-target group
/// attachment detached
/// checksum 0123456789abcdef
/// ```
///
/// The first line names the format and its version, the last one holds the FNV-1a checksum, 64 bits
/// in hexadecimal, of all that stands before it. Between them come the fields, each once, one a
/// line, in any order. `pidfs-inode` may be missing, and so may `attachment`, `stop-target`
/// (`leader`, `group`, `cgroup` or `tree`), and `stop-signal` with `stop-grace` (seconds), which an
/// identity has that was made by a spawner or a handler. A reader passes over fields it does not
/// know, so that a later version 1 may say more; a version in which a field means something else
/// has another number.
///
/// # Limits
///
/// The start time is counted in the time namespace of the reader: a runtime that comes back in
/// another one (see [time_namespaces(7)][timens]) is told [`PidReused`](AdoptError::PidReused).
///
/// [stat]: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
/// [timens]: https://man7.org/linux/man-pages/man7/time_namespaces.7.html
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ShimIdentity {
    pub(super) pid: Pid,
    pub(super) start_time: u64,
    pub(super) pidfs_inode: Option<u64>,
    pub(super) draft: Draft,
}

impl ShimIdentity {
    /// The identity of `process`, which lives, or is a zombie that nobody reaped yet.
    ///
    /// # Errors
    ///
    /// - `ESRCH`: the process was reaped, before this call or during it.
    /// - [`NotFound`](io::ErrorKind::NotFound),
    ///   [`PermissionDenied`](io::ErrorKind::PermissionDenied): `/proc` is missing, or hides the
    ///   process (`hidepid`).
    /// - `EMFILE`, `ENFILE`: no descriptor left to read `/proc` with.
    pub fn of(process: &Process) -> io::Result<ShimIdentity> {
        let seen = witness::observe(process)?;
        Ok(ShimIdentity::new(Draft::here()?, process.pid(), seen))
    }

    /// Async-signal-safe.
    pub(crate) fn new(draft: Draft, pid: Pid, seen: Seen) -> ShimIdentity {
        ShimIdentity {
            pid,
            start_time: seen.start_time,
            pidfs_inode: seen.pidfs_inode,
            draft,
        }
    }

    /// The same with what its supervisor knows.
    pub(crate) fn supervised(
        self,
        stop_policy: StopPolicy,
        stop_target: StopTarget,
        attached: bool,
    ) -> ShimIdentity {
        let draft = Draft {
            stop_policy: Some(stop_policy),
            stop_target: Some(stop_target),
            attached: Some(attached),
            ..self.draft
        };
        ShimIdentity { draft, ..self }
    }

    /// The number of the process in the PID namespace of the one that made the identity. For
    /// messages: by now it may be another's.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether the identity holds a pidfs inode, and so is the process's own beyond doubt (Linux
    /// 6.9, on 64-bit systems).
    #[must_use]
    pub fn proven(&self) -> bool {
        self.pidfs_inode.is_some()
    }

    /// How the shim is to be stopped, if its spawner or handler said so. A process that was merely
    /// [looked at](ShimIdentity::of) has no policy.
    #[must_use]
    pub fn stop_policy(&self) -> Option<StopPolicy> {
        self.draft.stop_policy
    }

    /// Which processes a stop of the shim is about, if its spawner or handler said so. One that was
    /// written before there were targets has none. The folder of a
    /// [cgroup](crate::StopTarget::Cgroup) is not in it.
    #[must_use]
    pub fn stop_target(&self) -> Option<StopTarget> {
        self.draft.stop_target
    }

    /// Whether a keepalive held the shim when the identity was made: `Some(false)` is a shim that
    /// was spawned detached, or released before. `None` as with
    /// [`stop_policy`](ShimIdentity::stop_policy).
    #[must_use]
    pub fn is_attached(&self) -> Option<bool> {
        self.draft.attached
    }

    /// Opens the process again. It is the same process, or an error.
    ///
    /// The process may be a zombie, which its handle tells. No permission to signal or to trace it
    /// is needed: one that is another user's is found all the same, unless `/proc` hides it
    /// (`hidepid`). A runtime that gave up privileges after its exec finds it too. Linux 5.10 does
    /// not let such a process read its own `/proc/self/fdinfo`, 6.1 does; where it may not, `/proc`
    /// has to show its own PID namespace.
    ///
    /// # Errors
    ///
    /// - [`Gone`](AdoptError::Gone): no process has the number.
    /// - [`PidReused`](AdoptError::PidReused): a stranger has it.
    /// - [`OtherBoot`](AdoptError::OtherBoot), [`OtherNamespace`](AdoptError::OtherNamespace): the
    ///   number means nothing here.
    /// - [`Unproven`](AdoptError::Unproven): what the identity holds cannot be compared.
    /// - [`Process`](AdoptError::Process): the process cannot be opened: no descriptor left,
    ///   refused.
    /// - [`Io`](AdoptError::Io): `/proc` does not say which boot or namespace this is.
    pub fn open(&self) -> Result<Process, AdoptError> {
        if BootId::current().map_err(AdoptError::Io)? != self.draft.boot_id {
            return Err(AdoptError::OtherBoot);
        }
        if witness::own_pid_namespace().map_err(AdoptError::Io)? != self.draft.pid_namespace {
            return Err(AdoptError::OtherNamespace);
        }
        let process = Process::open(self.pid).map_err(|error| match error {
            pidfd_watcher::Error::NotFound(_) => AdoptError::Gone,
            other => AdoptError::Process(other),
        })?;
        // From here on the number cannot move: what is read, is read of the process we hold.
        let seen = witness::observe(&process).map_err(|error| {
            if witness::is_reaped(&error) {
                AdoptError::Gone
            } else {
                AdoptError::Unproven(error)
            }
        })?;
        if seen.start_time != self.start_time {
            return Err(AdoptError::PidReused);
        }
        match (self.pidfs_inode, seen.pidfs_inode) {
            (Some(saved), Some(seen)) if saved != seen => Err(AdoptError::PidReused),
            // Same boot, same kernel: something in between hides the inode from us.
            (Some(_), None) => Err(AdoptError::Unproven(io::ErrorKind::Unsupported.into())),
            _ => Ok(process),
        }
    }
}
