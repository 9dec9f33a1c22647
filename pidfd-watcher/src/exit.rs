use std::process::ExitStatus;

use crate::Pid;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exit {
    /// The process id it had. The number may be somebody else's by now: it is good for a log line,
    /// not for a signal.
    pub pid: Pid,
    /// The exit status, or `None` when the kernel cannot tell it to this process. `None` never
    /// means success; see [`Process`](crate::Process#where-the-status-comes-from).
    pub status: Option<ExitStatus>,
}
