//! Finds out how a process ended. Asks every source that may know, and never invents a status.

use std::os::fd::BorrowedFd;

use rustix::io::{Errno, retry_on_intr};
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, waitid};

use crate::{kernel, proc_stat, sys};

/// A wait status, encoded as `wait(2)` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) raw: i32,
    /// The kernel returned it to us because we may reap the process.
    pub(crate) ours: bool,
}

/// The status of a process whose pidfd is readable. Does not reap it.
pub(crate) fn find(pidfd: BorrowedFd<'_>) -> Option<Status> {
    // Our own child, a zombie: this needs neither /proc nor a free descriptor, and /proc would not
    // know more.
    if let Ok(Some(raw)) = collect(pidfd, WaitIdOptions::NOWAIT) {
        return kernel::certain(raw).map(|raw| Status { raw, ours: true });
    }
    // ECHILD: not our child, or reaped. None: our child, but a tracer still holds it. Neither says
    // anything about the status, nor does any other error.
    let raw = reaped(pidfd)
        .or_else(|| proc_stat::zombie_status(pidfd).and_then(kernel::certain))
        // A process that was a zombie at the first look may have been reaped before the second.
        .or_else(|| reaped(pidfd))?;
    Some(Status { raw, ours: false })
}

/// Reaps a child of ours that has exited. `None`: a tracer still holds it.
///
/// Call it only once the pidfd is readable. If this process traces the child, waitid(2) also
/// returns its ptrace stops, asked for or not. A stop that was returned is not returned again, so a
/// debugger would wait for it for ever. A process that has exited does not stop any more.
pub(crate) fn reap(pidfd: BorrowedFd<'_>) -> Result<Option<i32>, Errno> {
    collect(pidfd, WaitIdOptions::empty())
}

/// The same, with the resource usage of the child.
pub(crate) fn reap_with_usage(
    pidfd: BorrowedFd<'_>,
) -> Result<Option<(i32, sys::RawUsage)>, Errno> {
    let collected = retry_on_intr(|| sys::collect_with_usage(pidfd))?;
    Ok(collected.and_then(|(end, usage)| Some((encode_end(end)?, usage))))
}

/// Returns an error unless the process is a child of ours that has not been reaped. It consumes
/// nothing, whether the child is alive or dead.
pub(crate) fn is_ours(pidfd: BorrowedFd<'_>) -> Result<(), Errno> {
    collect(pidfd, WaitIdOptions::NOWAIT).map(drop)
}

fn collect(pidfd: BorrowedFd<'_>, options: WaitIdOptions) -> Result<Option<i32>, Errno> {
    // __WALL: a child made by clone with another exit signal than SIGCHLD is also a child.
    let all = WaitIdOptions::from_bits_retain(libc::__WALL.cast_unsigned());
    let options = options | all | WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    // With WNOHANG, a pidfd with PIDFD_NONBLOCK does not return EAGAIN for "not yet":
    // pidfd_open(2).
    let status = retry_on_intr(|| waitid(WaitId::PidFd(pidfd), options))?;
    Ok(status.as_ref().and_then(encode))
}

/// Converts waitid's two numbers to wait's one: see WIFEXITED and the other macros in wait(2).
/// `None`: it was a stop, and not an end.
fn encode(status: &WaitIdStatus) -> Option<i32> {
    if let Some(code) = status.exit_status() {
        return encode_end((libc::CLD_EXITED, code));
    }
    let signal = status.terminating_signal()?;
    let how = if status.dumped() {
        libc::CLD_DUMPED
    } else {
        libc::CLD_KILLED
    };
    encode_end((how, signal))
}

/// The same, from the bare numbers.
fn encode_end((how, status): sys::End) -> Option<i32> {
    const CORE_DUMPED: i32 = 0x80;
    match how {
        libc::CLD_EXITED => Some((status & 0xff) << 8),
        libc::CLD_KILLED => Some(status),
        libc::CLD_DUMPED => Some(status | CORE_DUMPED),
        _ => None,
    }
}

/// The status of a reaped process, whichever process's child it was: Linux 6.15.
fn reaped(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let info = sys::info(pidfd, sys::INFO_EXIT).ok()?;
    (info.mask & sys::INFO_EXIT != 0).then_some(info.exit_code)
}
