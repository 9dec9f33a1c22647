//! Facts about a process from `/proc` and the pidfd. An open pidfd keeps its pid from being reused
//! while they are read.

use std::io;
use std::os::fd::AsFd;

use pidfd_watcher::{Process, proc_stat_field};
use rustix::fs::{FsWord, fstat, fstatfs, stat};
use rustix::io::Errno;

/// `PIDFS_MAGIC`. Since Linux 6.9 pidfds are in a file system of their own, where each process has
/// an inode number that is never used again. Before, all of them share one anonymous inode.
const PIDFS_MAGIC: FsWord = 0x5049_4446;

/// The facts that distinguish a process from all others with its pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Clock ticks after boot.
    pub(crate) start_time: u64,
    pub(crate) pidfs_inode: Option<u64>,
}

/// Reads the facts about `process`. `ESRCH` if it was reaped meanwhile.
pub(super) fn observe(process: &Process) -> io::Result<Seen> {
    let line = process.proc_stat()?;
    Ok(Seen {
        start_time: start_time(&line).ok_or(io::ErrorKind::InvalidData)?,
        pidfs_inode: pidfs_inode(process)?,
    })
}

/// Whether [`observe`] failed because the process is gone.
pub(super) fn is_reaped(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

/// Field 22 of a line of `/proc/PID/stat`. Async-signal-safe.
pub(crate) fn start_time(line: &[u8]) -> Option<u64> {
    proc_stat_field(line, 22)?.parse().ok()
}

/// The inode of a pidfd, if it belongs to that process alone. Async-signal-safe.
pub(crate) fn pidfs_inode(pidfd: impl AsFd) -> Result<Option<u64>, Errno> {
    // On a 32-bit kernel st_ino is half of the number, and halves repeat.
    if cfg!(target_pointer_width = "64") && fstatfs(&pidfd)?.f_type == PIDFS_MAGIC {
        Ok(Some(fstat(&pidfd)?.st_ino))
    } else {
        Ok(None)
    }
}

/// The inode of our own PID namespace.
pub(super) fn own_pid_namespace() -> io::Result<u64> {
    Ok(stat("/proc/thread-self/ns/pid")?.st_ino)
}

/// Checks that a child counts processes and clock ticks as we do. Otherwise it cannot make an
/// identity that is valid here.
pub(super) fn check_namespaces_of_children() -> io::Result<()> {
    for kind in ["pid", "time"] {
        let own = match stat(format!("/proc/thread-self/ns/{kind}")) {
            Ok(own) => own,
            // Before Linux 5.6 there are no time namespaces.
            Err(Errno::NOENT) if kind == "time" => continue,
            Err(errno) => return Err(errno.into()),
        };
        let children = match stat(format!("/proc/thread-self/ns/{kind}_for_children")) {
            Ok(children) => Some(children),
            // A new PID namespace in which no child was born yet.
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(errno.into()),
        };
        if children.is_none_or(|children| children.st_ino != own.st_ino) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "children of this process are born in another PID or time namespace",
            ));
        }
    }
    Ok(())
}
