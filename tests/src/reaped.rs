//! The end of a child, with its status on every kernel.

use pidfd_watcher::{Exit, Process};

use crate::time_limit;

/// Waits for an own child and reaps it: before Linux 5.17 nothing else tells its exit code.
pub fn reaped(process: &Process) -> Exit {
    let ended = process.wait_timeout(time_limit()).expect("poll");
    ended.expect("ends before the deadline");
    process.clone().reap().expect("own child")
}
