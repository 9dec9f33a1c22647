//! Moves a child into a cgroup if the kernel did not create it there.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, retry_on_intr, write};

use crate::sys::Descriptor;

/// Runs in the child: to the kernel, 0 means the process that writes.
pub(super) fn enter(cgroup: &OwnedFd) -> Result<(), Errno> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(cgroup, c"cgroup.procs", flags, Mode::empty())?;
    let file = Descriptor::new(file);
    retry_on_intr(|| write(&file, b"0")).map(drop)
}
