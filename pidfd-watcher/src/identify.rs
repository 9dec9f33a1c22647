//! Finds out whether a descriptor from elsewhere is a pidfd, and which process it names.

use std::os::fd::BorrowedFd;

use rustix::fs::{FsWord, OFlags, fcntl_getfl, fstatfs};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::proc_fs::{self, FdPid};
use crate::{Error, sys};

/// `PIDFS_MAGIC`: since Linux 6.9 pidfds are in a file system of their own.
const PIDFS_MAGIC: FsWord = 0x5049_4446;

/// `PIDFD_THREAD`. Linux 6.9 gave it the value of `O_EXCL`, and it stays in the file's flags.
const PIDFD_THREAD: OFlags = OFlags::EXCL;

/// Whether a descriptor is in that file system, and so is a pidfd.
pub(crate) fn is_on_pidfs(fd: BorrowedFd<'_>) -> bool {
    fstatfs(fd).is_ok_and(|fs| fs.f_type == PIDFS_MAGIC)
}

/// The pid, in our PID namespace, of the process that `fd` refers to.
pub(crate) fn pid_of(fd: BorrowedFd<'_>) -> Result<Pid, Error> {
    let by_proc = proc_fs::fd_pid(fd).ok();
    if by_proc.is_none() && !is_on_pidfs(fd) {
        return Err(if proc_fs::shows_our_pid_namespace() {
            Error::NotPidfd(Errno::BADF.into())
        } else {
            // Only fdinfo distinguishes an older pidfd from other anonymous files.
            Error::Unsupported(Errno::NOSYS.into())
        });
    }
    // The pidfd of a single thread becomes readable when that thread ends, and signals to it go to
    // the thread. So it does not stand for a process. A descriptor that is only a path (O_PATH)
    // cannot be polled.
    if fcntl_getfl(fd)
        .map_err(Error::of_call)?
        .intersects(PIDFD_THREAD.union(OFlags::PATH))
    {
        return Err(Error::NotPidfd(Errno::BADF.into()));
    }
    match sys::info(fd, sys::INFO_PID) {
        Ok(info) if info.mask & sys::INFO_PID != 0 => to_pid(info.tgid.cast_signed()),
        // It was reaped, so no pid belongs to it any more.
        Ok(_) => Err(Error::NotFound(Errno::SRCH.into())),
        // It was reaped, or it is outside our PID namespace; the latter has its own errno since
        // Linux 6.18.
        Err(errno @ (Errno::SRCH | Errno::REMOTE)) => Err(Error::NotFound(errno.into())),
        // Before Linux 6.13, or refused by a filter.
        Err(errno) => match by_proc {
            Some(FdPid::Held(pid)) if proc_fs::shows_our_pid_namespace() => to_pid(pid),
            Some(FdPid::Reaped | FdPid::Outside) => Err(Error::NotFound(Errno::SRCH.into())),
            Some(FdPid::Held(_)) | None => Err(Error::Unsupported(errno.into())),
        },
    }
}

fn to_pid(raw: i32) -> Result<Pid, Error> {
    // Negative numbers are excluded too: `Pid::from_raw` panics on them in a debug build.
    let pid = Some(raw).filter(|&raw| raw > 0).and_then(Pid::from_raw);
    pid.ok_or_else(|| Error::NotFound(Errno::SRCH.into()))
}
