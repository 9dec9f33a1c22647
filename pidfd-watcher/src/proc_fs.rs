//! What `/proc` says about the process behind a pidfd.
//!
//! `/proc` may be missing, hide other users' processes (`hidepid`), or show another PID namespace
//! than ours. The pid in a pidfd's fdinfo is the pid in the namespace that this `/proc` shows. So
//! it names the right folder there, whatever the process's pid is in our own namespace.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::sys;

/// The line `Pid:` of a pidfd's fdinfo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FdPid {
    /// Alive or a zombie: the process still has this pid.
    Held(i32),
    /// Reaped.
    Reaped,
    /// It is outside the PID namespace that `/proc` shows.
    Outside,
}

/// Reads the pid of the process behind `pidfd`.
///
/// See [proc_pid_fdinfo(5)](https://man7.org/linux/man-pages/man5/proc_pid_fdinfo.5.html).
///
/// # Errors
///
/// `NotFound`: `/proc` is missing, or the descriptor is no pidfd, because no other kind of file has
/// that line. `PermissionDenied`: see [`read`](crate::proc_stat::read).
pub(crate) fn fd_pid(pidfd: BorrowedFd<'_>) -> io::Result<FdPid> {
    // thread-self, because "self" is the main thread, whose table is empty once that thread has
    // ended.
    let path = format!("/proc/thread-self/fdinfo/{}", pidfd.as_raw_fd());
    let fdinfo = fs::read_to_string(path)?;
    let line = fdinfo.lines().find_map(|line| line.strip_prefix("Pid:"));
    match line.and_then(|number| number.trim().parse().ok()) {
        Some(-1) => Ok(FdPid::Reaped),
        Some(pid) if pid > 0 => Ok(FdPid::Held(pid)),
        Some(_) => Ok(FdPid::Outside),
        None => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Whether `/proc` shows our own PID namespace, so that its pids are ours. `false` if our own pid
/// cannot be read.
pub(crate) fn shows_our_pid_namespace() -> bool {
    let shown = fs::read_link("/proc/self").ok();
    let ours = sys::own_pid().map(|pid| pid.to_string());
    shown.is_some_and(|shown| Some(shown.as_os_str()) == ours.as_deref().map(OsStr::new))
}
