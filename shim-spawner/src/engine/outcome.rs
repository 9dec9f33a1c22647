//! Decides whether a new child has executed the program, from its report and its state.

use std::process::ExitStatus;

use pidfd_watcher::{Process, Signal};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::report::Report;
use crate::{SpawnError, Stage};

/// Judges a child that runs no code of ours any more. `executed` is called if the report leaves it
/// open: the child announced exec and reported no error.
pub(super) fn settle(
    process: Process,
    report: &Report,
    executed: impl FnOnce(&Process) -> bool,
) -> Result<Process, SpawnError> {
    let stage = report.stage();
    if let Some(error) = report.error() {
        reap(&process);
        return Err(SpawnError::io(stage, error).with_fd(report.number()));
    }
    if stage == Stage::Exec && executed(&process) {
        return Ok(process);
    }
    // A closure may have executed another program.
    let _ = process.send_signal(Signal::KILL);
    Err(SpawnError::died(stage, reap(&process)))
}

/// `__WALL`: a child with any exit signal.
pub(super) const ANY_CHILD: WaitIdOptions =
    WaitIdOptions::from_bits_retain(libc::__WALL.cast_unsigned());

/// Waits for a child that is about to end, and reaps it. `None`: its status is not known.
pub(super) fn reap(process: &Process) -> Option<ExitStatus> {
    // Waits for its end first, because for a child that this process traces, waitid(2) reports
    // stops as well. A filter may refuse to poll; the child is reaped all the same.
    let _ = process.wait();
    // The wait above also returns for a zombie that a tracer still has.
    let left = wait(process, ANY_CHILD | WaitIdOptions::NOWAIT);
    if left == Err(Errno::CHILD) {
        return None;
    }
    if let Ok(exit) = process.clone().reap() {
        return exit.status;
    }
    let _ = wait(process, ANY_CHILD);
    None
}

/// Whether a child has ended. A filter may refuse to poll, which does not mean that it has ended.
pub(super) fn has_ended(process: &Process) -> bool {
    let look = ANY_CHILD | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    match process.try_wait() {
        Ok(exit) => exit.is_some(),
        Err(_) => matches!(wait(process, look), Ok(true) | Err(Errno::CHILD)),
    }
}

/// waitid(2) for the exit of this process. Returns whether it has exited.
pub(super) fn wait(process: &Process, options: WaitIdOptions) -> Result<bool, Errno> {
    let id = || WaitId::PidFd(rustix::fd::AsFd::as_fd(process));
    retry_on_intr(|| waitid(id(), options | WaitIdOptions::EXITED)).map(|exit| exit.is_some())
}
