//! What the child does for [`ShimSpawner::identity_file`](crate::ShimSpawner::identity_file).
//!
//! The child writes the file, not the parent: the parent may be suspended until the exec, and may
//! be killed at any instant.

use pidfd_watcher::Pid;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, read, retry_on_intr};
use rustix::process::{PidfdFlags, pidfd_open};

use crate::identity::{self, Record, Seen, ShimIdentity};
use crate::sys::{self, Descriptor};

impl Record {
    /// Runs in the child: its own identity.
    pub(super) fn identify(&self) -> Result<ShimIdentity, Errno> {
        let pid = sys::own_pid()?;
        let seen = Seen {
            start_time: own_start_time()?,
            pidfs_inode: own_inode(pid)?,
        };
        Ok(ShimIdentity::new(self.draft, pid, seen))
    }

    /// Runs in the child: puts `identity` on the disk.
    pub(super) fn write(&self, identity: &ShimIdentity) -> Result<(), Errno> {
        self.place.write(identity.compose().as_bytes())
    }
}

/// Runs in the child. Only /proc shows the start time; no system call does.
fn own_start_time() -> Result<u64, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = Descriptor::new(openat(CWD, c"/proc/self/stat", flags, Mode::empty())?);
    // The line has 52 numbers and a name of 15 bytes; field 22 ends within the first half of this.
    let mut line = [0; 1024];
    let length = retry_on_intr(|| read(&file, &mut line))?;
    let line = line.get(..length).unwrap_or_default();
    identity::start_time(line).ok_or(Errno::IO)
}

/// Runs in the child. It opens a pidfd because the parent's pidfd is not in its descriptor table.
fn own_inode(pid: Pid) -> Result<Option<u64>, Errno> {
    let pidfd = Descriptor::new(pidfd_open(pid, PidfdFlags::empty())?);
    identity::pidfs_inode(&pidfd)
}
