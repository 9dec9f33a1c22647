//! What the registry asks of a process.

use std::os::fd::RawFd;

use crate::{Exit, Pid};

/// A process, as far as the registry is concerned.
pub(crate) trait Subject: Clone {
    /// A number that no other subject has as long as a clone of this one is held.
    fn number(&self) -> RawFd;
    fn pid(&self) -> Pid;
    /// How it ended; asked once it has.
    fn exit(&self) -> Exit;
    /// Reaps it. `false`: it cannot be reaped yet, and an event will come when it can.
    fn reap(&self) -> bool;
}
