//! The facts that identify a shim, and the search for its process by them.

use std::io;

use pidfd_watcher::{Pid, Process};
use watchdog_pipe::StopPolicy;

use super::boot::BootId;
use super::draft::Draft;
use super::error::AdoptError;
use super::witness::{self, Seen};
use crate::StopTarget;

/// What the process that starts the helpers (the runtime) saves about a shim, to find it again
/// after its own restart.
///
/// A pid alone is not enough: by the time the file is read, another process may have it. So an
/// identity also has
///
/// - the start time of the process ([`/proc/PID/stat`][stat], field 22: clock ticks after boot),
/// - the boot's id, because pids and start times begin again with every boot,
/// - the PID namespace of the pid: that of the process that made the identity,
/// - the inode of the pidfd, since Linux 6.9: unique to one process for as long as the system runs.
///
/// All of it must match. Without the inode, two processes can in theory have the same identity: the
/// second one gets the pid of the first within the same clock tick, mostly 10 ms.
/// [`proven`](ShimIdentity::proven) returns whether the inode is there.
///
/// # Text
///
/// `Display` and `FromStr` write and read the text of the file:
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
/// The first line names the format and its version. The last line has the FNV-1a checksum, 64 bits
/// in hexadecimal, of all text before it. Between them are the fields, each once, one a line, in
/// any order. Some may be missing:
///
/// - `pidfs-inode`;
/// - `attachment`;
/// - `stop-target` (`leader`, `group`, `cgroup` or `tree`);
/// - `stop-signal` with `stop-grace` (seconds).
///
/// All but the first are in an identity that a spawner or a handler made. A reader ignores fields
/// that it does not know, so a later writer of version 1 may add some. If a field changes its
/// meaning, the version changes.
///
/// # Limits
///
/// The start time is counted in the time namespace of the reader. A runtime that comes back in
/// another one (see [time_namespaces(7)][timens]) gets [`PidReused`](AdoptError::PidReused).
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
    /// The identity of `process`, which is alive, or is a zombie that was not reaped yet.
    ///
    /// # Errors
    ///
    /// - `ESRCH`: the process was reaped, before this call or during it.
    /// - [`NotFound`](io::ErrorKind::NotFound),
    ///   [`PermissionDenied`](io::ErrorKind::PermissionDenied): `/proc` is missing, or hides the
    ///   process (`hidepid`).
    /// - `EMFILE`, `ENFILE`: no descriptor is left to read `/proc` with.
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

    /// The same identity with what its supervisor knows.
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

    /// The pid in the PID namespace of the process that made the identity. Use it for messages
    /// only: by now another process may have it.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether the identity has a pidfs inode and so can mean no other process (Linux 6.9, on
    /// 64-bit systems).
    #[must_use]
    pub fn proven(&self) -> bool {
        self.pidfs_inode.is_some()
    }

    /// How the shim is to be stopped, if its spawner or handler saved that. An identity made by
    /// [`of`](ShimIdentity::of) has no policy.
    #[must_use]
    pub fn stop_policy(&self) -> Option<StopPolicy> {
        self.draft.stop_policy
    }

    /// Which processes a stop of the shim signals, if its spawner or handler saved that. An
    /// identity from before there were targets has none. The folder of a
    /// [cgroup](crate::StopTarget::Cgroup) is not saved.
    #[must_use]
    pub fn stop_target(&self) -> Option<StopTarget> {
        self.draft.stop_target
    }

    /// Whether a keepalive held the shim when the identity was made. `Some(false)`: the shim was
    /// spawned detached, or was released before. `None` as for
    /// [`stop_policy`](ShimIdentity::stop_policy).
    #[must_use]
    pub fn is_attached(&self) -> Option<bool> {
        self.draft.attached
    }

    /// Opens the process again. The result is the same process, or an error.
    ///
    /// The process may be a zombie, which its handle reports. The call needs no permission to
    /// signal or to trace the process: it finds a process of another user too, unless `/proc` hides
    /// it (`hidepid`). It also works in a runtime that gave up privileges after its exec. Linux
    /// 5.10 does not let such a process read its own `/proc/self/fdinfo`, 6.1 does. If the process
    /// may not read it, `/proc` has to show its own PID namespace.
    ///
    /// # Errors
    ///
    /// - [`Gone`](AdoptError::Gone): no process has the pid.
    /// - [`PidReused`](AdoptError::PidReused): another process has it.
    /// - [`OtherBoot`](AdoptError::OtherBoot), [`OtherNamespace`](AdoptError::OtherNamespace): the
    ///   pid means nothing here.
    /// - [`Unproven`](AdoptError::Unproven): the facts in the identity cannot be compared.
    /// - [`Process`](AdoptError::Process): the process cannot be opened: no descriptor is left, or
    ///   the call was refused.
    /// - [`Io`](AdoptError::Io): `/proc` does not show which boot or namespace this is.
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
        // From here on the handle keeps the pid from being reused, so we read facts of the right
        // process.
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
            // The boot and the kernel are the same, so something in between hides the inode from
            // us.
            (Some(_), None) => Err(AdoptError::Unproven(io::ErrorKind::Unsupported.into())),
            _ => Ok(process),
        }
    }
}
