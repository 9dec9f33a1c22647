//! The part of an identity that is known before the shim exists.

use std::hash::{Hash, Hasher};
use std::io;

use watchdog_pipe::StopPolicy;

use super::boot::BootId;
use super::witness;
use crate::StopTarget;

/// An identity without the facts that only the process itself can read.
///
/// It has plain values only, so the child can complete it without allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(super) boot_id: BootId,
    pub(super) pid_namespace: u64,
    pub(super) stop_policy: Option<StopPolicy>,
    pub(super) stop_target: Option<StopTarget>,
    pub(super) attached: Option<bool>,
}

impl Draft {
    /// For a process that has a pid in our own PID namespace.
    pub(super) fn here() -> io::Result<Draft> {
        Ok(Draft {
            boot_id: BootId::current()?,
            pid_namespace: witness::own_pid_namespace()?,
            stop_policy: None,
            stop_target: None,
            attached: None,
        })
    }

    /// For a child that will see itself as we see it.
    ///
    /// # Errors
    /// - `Unsupported`: this process has unshared the PID or the time namespace of its children, so
    ///   they count processes or clock ticks in another way.
    /// - `ENOENT`, `EACCES`: `/proc` is missing or hidden.
    /// - `EMFILE`, `ENFILE`.
    pub(super) fn of_child(
        stop_policy: StopPolicy,
        stop_target: StopTarget,
        attached: bool,
    ) -> io::Result<Draft> {
        witness::check_namespaces_of_children()?;
        Ok(Draft {
            stop_policy: Some(stop_policy),
            stop_target: Some(stop_target),
            attached: Some(attached),
            ..Draft::here()?
        })
    }
}

impl Hash for Draft {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let stop = self
            .stop_policy
            .map(|policy| (policy.stop_signal().as_raw(), policy.grace_period()));
        let how = (stop, self.stop_target);
        (self.boot_id, self.pid_namespace, how, self.attached).hash(state);
    }
}
