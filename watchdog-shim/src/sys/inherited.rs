//! What this process has inherited through its exec: descriptors, and the watchdog that the
//! environment names.

use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd, RawFd};

use crate::sys::sole_thread::SoleThread;

/// Takes the inherited descriptor that the command line names, and makes it close-on-exec.
///
/// A standard stream is duplicated, because the original belongs to COMMAND. Any other descriptor
/// is taken itself.
pub(crate) fn inherited_descriptor(alone: &SoleThread, number: RawFd) -> io::Result<OwnedFd> {
    // If a standard stream was closed, `occupy_standard_streams` has filled the number with a
    // close-on-exec descriptor.
    require_inherited(number)?;
    let stream = match number {
        0 => rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3),
        1 => rustix::io::fcntl_dupfd_cloexec(io::stdout(), 3),
        2 => rustix::io::fcntl_dupfd_cloexec(io::stderr(), 3),
        _ => {
            let fd = own(alone, number)?;
            rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
            return Ok(fd);
        }
    };
    Ok(stream?)
}

/// Duplicates an inherited descriptor, whatever its number. Another part of the shim owns the
/// original, or will own it.
pub(crate) fn inherited_duplicate(alone: &SoleThread, number: RawFd) -> io::Result<OwnedFd> {
    if number <= 2 {
        return inherited_descriptor(alone, number);
    }
    let fd = own(alone, number)?;
    let duplicate = rustix::io::fcntl_dupfd_cloexec(&fd, 3);
    let _ = fd.into_raw_fd();
    Ok(duplicate?)
}

/// An error if the number is closed, or did not come through the exec.
///
/// A descriptor that is close-on-exec did not come through the exec: it is one of the shim's own,
/// and has an owner.
fn require_inherited(number: RawFd) -> io::Result<()> {
    // SAFETY: F_GETFD takes no argument and changes nothing. A closed number is only an error.
    match unsafe { libc::fcntl(number, libc::F_GETFD) } {
        0 => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        _ => Err(io::Error::from_raw_os_error(libc::EBADF)),
    }
}

fn own(_: &SoleThread, number: RawFd) -> io::Result<OwnedFd> {
    require_inherited(number)?;
    // SAFETY: the descriptor is open. It came through the exec, so no other part of this process
    // owns it: the promise behind the `SoleThread`.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Closes an inherited number. A number that is close-on-exec was not inherited, and stays open.
pub(crate) fn close_inherited(_: &SoleThread, number: RawFd) {
    // SAFETY: F_GETFD takes no argument and changes nothing. A closed number is only an error. A
    // descriptor that is not close-on-exec came through the exec, and has no owner here: the
    // promise behind the `SoleThread`.
    unsafe {
        if libc::fcntl(number, libc::F_GETFD) == 0 {
            libc::close(number);
        }
    }
}

/// The watchdog that the environment names for this process.
pub(crate) fn adopt_watchdog(
    _: &SoleThread,
) -> Result<Option<watchdog_pipe::Watchdog>, watchdog_pipe::AdoptError> {
    // SAFETY: no part of this process owns the descriptors that the environment names: the promise
    // behind the `SoleThread`.
    unsafe { watchdog_pipe::Watchdog::from_env() }
}
