//! Children of this process: fork(2), and what waitid(2) reports about them.
//!
//! Every wait uses waitid(2). A filter may refuse it, so the shim tries it before it starts
//! anything.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitIdStatus, waitid};

use crate::sys::identity::pid;
use crate::sys::sole_thread::SoleThread;

/// Which side of a fork this is.
#[derive(Debug)]
pub(crate) enum Forked {
    Parent(Pid),
    Child,
}

/// fork(2), through the C library, which corrects its own state in the copy.
pub(crate) fn fork(_: &SoleThread) -> io::Result<Forked> {
    // SAFETY: this process has one thread, so no lock is held by a thread that the copy lacks. The
    // copy may do everything.
    match unsafe { libc::fork() } {
        0 => Ok(Forked::Child),
        // A positive number is the child. -1, and whatever else a filter returns, is a failure.
        number => match pid(number) {
            Some(pid) => Ok(Forked::Parent(pid)),
            None => Err(io::Error::last_os_error()),
        },
    }
}

/// A child that has changed its state: it has ended, was stopped or was continued.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StateChange {
    pub(crate) pid: Pid,
    /// How it ended; `None` if it was stopped or continued.
    pub(crate) ended: Option<ExitStatus>,
}

/// The next child that has changed its state. This reports the same change until somebody takes it:
/// [`reap`] takes an end, [`take_stop`] the others.
///
/// So a caller can write down the status while the child still has its number. After the reap
/// another process could get that number, and be mistaken for the child. rustix's waitid(2) does
/// not return the number.
pub(crate) fn peek_state_change() -> Result<Option<StateChange>, Errno> {
    let options = libc::WEXITED | libc::WSTOPPED | libc::WCONTINUED | libc::WNOHANG | libc::WNOWAIT;
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: `info` has room for the answer.
    if unsafe { libc::waitid(libc::P_ALL, 0, info.as_mut_ptr(), options) } != 0 {
        let error = io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
    }
    // SAFETY: zeros are a valid siginfo_t, and the kernel has filled it if a child has changed.
    let info = unsafe { info.assume_init() };
    // SAFETY: these two fields are integers. waitid(2) has filled them, or they are zero.
    let (number, value) = unsafe { (info.si_pid(), info.si_status()) };
    let status = match info.si_code {
        libc::CLD_EXITED => Some((value & 0xff) << 8),
        libc::CLD_KILLED => Some(value & 0x7f),
        libc::CLD_DUMPED => Some(value & 0x7f | 0x80),
        _ => None,
    };
    Ok(pid(number).map(|pid| StateChange {
        pid,
        ended: status.map(ExitStatus::from_raw),
    }))
}

/// Waits until a child of this process has ended, and reaps it.
pub(crate) fn reap(child: Pid) -> Result<(), Errno> {
    retry_on_intr(|| waitid(WaitId::Pid(child), WaitIdOptions::EXITED)).map(drop)
}

/// Takes the change that a child was stopped (true) or continued (false), and no other. If the
/// child has ended since, its end can still be seen.
pub(crate) fn take_stop(child: Pid) -> Result<Option<bool>, Errno> {
    let options = WaitIdOptions::STOPPED | WaitIdOptions::CONTINUED | WaitIdOptions::NOHANG;
    let status = retry_on_intr(|| waitid(WaitId::Pid(child), options))?;
    Ok(status.map(|status| status.stopped()))
}

/// How a child of this process has ended, or `None` while it lives. It is not reaped. An error if
/// the process is not a child of this one.
pub(crate) fn end_of_child(process: BorrowedFd<'_>) -> Result<Option<WaitIdStatus>, Errno> {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::PidFd(process), look)
}
