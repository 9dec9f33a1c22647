//! How the tree is stopped.

use std::time::Duration;

use rustix::process::Signal;

/// Send this signal first, and SIGKILL after the grace period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) signal: Signal,
    pub(crate) grace: Duration,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            signal: Signal::TERM,
            grace: Duration::from_secs(10),
        }
    }
}
