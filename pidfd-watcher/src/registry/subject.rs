//! What the registry needs from a process.

use std::os::fd::RawFd;

use crate::{Exit, Pid};

/// A process, as the registry sees it.
pub(crate) trait Subject: Clone {
    /// A number that no other subject has, as long as a clone of this one exists.
    fn number(&self) -> RawFd;
    fn pid(&self) -> Pid;
    /// How it ended. Called only after it has ended.
    fn exit(&self) -> Exit;
    /// Reaps it. `false` if it cannot be reaped yet; then an event comes when it can.
    fn reap(&self) -> bool;
}
