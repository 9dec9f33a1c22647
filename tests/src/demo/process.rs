//! A process the director watches: by pidfd, so that a recycled number fools nobody.
//!
//! Straight on the system calls: the witness does not use the crates it testifies about.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitIdStatus, pidfd_open, pidfd_send_signal,
    waitid,
};

#[derive(Debug)]
pub(super) struct Process {
    pid: i32,
    pidfd: OwnedFd,
}

impl Process {
    /// `None` once the process is reaped.
    pub(super) fn open(pid: i32) -> Result<Option<Process>> {
        let number = Pid::from_raw(pid).with_context(|| format!("{pid} is no pid"))?;
        match pidfd_open(number, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Some(Process { pid, pidfd })),
            Err(Errno::SRCH) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("open process {pid}")),
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// SIGKILL. A process that is gone already is no error.
    pub(super) fn kill(&self) -> Result<()> {
        match pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("kill {}", self.pid)),
        }
    }

    /// Waits for the exit and reaps; how it ended, or `None` where it is not our child.
    pub(super) fn reap(&self) -> Result<Option<String>> {
        match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
            Ok(status) => Ok(status.map(|status| describe(&status))),
            Err(Errno::CHILD) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reap {}", self.pid)),
        }
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// In the words of [`ExitStatus`].
fn describe(status: &WaitIdStatus) -> String {
    // Put together as wait(2) would have given it: a core dump is bit 7.
    let dumped = if status.dumped() { 0x80 } else { 0 };
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => ExitStatus::from_raw(code << 8).to_string(),
        (None, Some(signal)) => ExitStatus::from_raw(signal | dumped).to_string(),
        (None, None) => "unknown status".to_owned(),
    }
}
