//! Facts about this process and others. If a filter refuses a call, the function returns an error.

use std::io;

use pidfd_watcher::{Pid, Signal};
use rustix::io::Errno;

/// The pid of this process in its own PID namespace. A filter's refusal is an error, not a pid.
///
/// Async-signal-safe.
pub(crate) fn own_pid() -> Result<Pid, Errno> {
    // SAFETY: takes no pointer.
    let pid = unsafe { libc::syscall(libc::SYS_getpid) };
    match i32::try_from(pid) {
        Ok(pid @ 1..) => Pid::from_raw(pid).ok_or(Errno::NOSYS),
        Ok(-1) => Err(last_errno()),
        // No kernel returns this, but a filter may.
        _ => Err(Errno::NOSYS),
    }
}

/// The effective user of this process.
pub(crate) fn effective_user() -> Result<u32, Errno> {
    // SAFETY: takes no pointer.
    let user = unsafe { libc::geteuid() };
    // The C library returns a kernel error unchanged: -4095 to -1.
    match user.cast_signed() {
        errno @ -4095..=-1 => Err(Errno::from_raw_os_error(-errno)),
        _ => Ok(user),
    }
}

/// A signal by its number. `None` if the number is no signal, or is one that the C library reserves
/// for itself.
pub(crate) fn signal_from_raw(number: i32) -> Option<Signal> {
    Signal::from_named_raw(number).or_else(|| {
        (libc::SIGRTMIN()..=libc::SIGRTMAX())
            .contains(&number)
            .then(|| {
                // SAFETY: a real-time signal that the C library leaves to programs.
                unsafe { Signal::from_raw_unchecked(number) }
            })
    })
}

/// The errno of the C library call that has just failed in this thread. Async-signal-safe.
pub(crate) fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::NOSYS)
}

/// The process group of this process. `None`: it is outside this PID namespace.
pub(crate) fn own_group() -> Result<Option<Pid>, Errno> {
    // SAFETY: takes no pointer.
    group(unsafe { libc::getpgrp() })
}

/// The process group of the process that has this pid now. `None`: it is outside this PID
/// namespace.
pub(crate) fn group_of(pid: Pid) -> Result<Option<Pid>, Errno> {
    // SAFETY: takes no pointer.
    group(unsafe { libc::getpgid(pid.as_raw_nonzero().get()) })
}

/// rustix is not used for this, because it takes an error for a number.
fn group(answer: libc::pid_t) -> Result<Option<Pid>, Errno> {
    match answer {
        0.. => Ok(Pid::from_raw(answer)),
        _ => Err(last_errno()),
    }
}
