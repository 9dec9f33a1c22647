use std::process::ExitStatus;

use crate::Pid;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exit {
    /// The pid that the process had. The number may belong to another process by now: use it in a
    /// log line, not for a signal.
    pub pid: Pid,
    /// The exit status, or `None` if this process cannot learn it. `None` never means success; see
    /// [`Process`](crate::Process#where-the-status-comes-from).
    pub status: Option<ExitStatus>,
}
