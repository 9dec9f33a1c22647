//! Sets the controlling terminal and its foreground group.

use std::os::fd::{AsRawFd, OwnedFd};

use super::calls::{Errno, check};
use crate::terminal::Terminal;

impl Terminal {
    pub(super) fn is_asked_for(&self) -> bool {
        self.controlling.is_some() || self.foreground.is_some()
    }

    /// Runs in the child, with all signals blocked: SIGTTOU would stop a process that is not in the
    /// foreground yet.
    pub(super) fn take(&self) -> Result<(), Errno> {
        if let Some(terminal) = &self.controlling {
            // SAFETY: takes no pointer. 0: do not take the terminal from another session.
            check(unsafe { ioctl(terminal, libc::TIOCSCTTY, 0) })?;
        }
        if let Some(terminal) = &self.foreground {
            // SAFETY: takes no pointer.
            let group = check(unsafe { libc::syscall(libc::SYS_getpgid, 0) })?;
            let group = libc::pid_t::try_from(group).map_err(|_| Errno(libc::ENOSYS))?;
            // SAFETY: the kernel reads one number.
            check(unsafe { ioctl(terminal, libc::TIOCSPGRP, (&raw const group) as usize) })?;
        }
        Ok(())
    }
}

/// Runs in the child: ioctl(2).
///
/// # Safety
/// `argument` is what the request takes.
unsafe fn ioctl(terminal: &OwnedFd, request: libc::Ioctl, argument: usize) -> std::ffi::c_long {
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_ioctl, terminal.as_raw_fd(), request, argument) }
}
