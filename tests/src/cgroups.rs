//! Where this process is among the cgroups of version 2.

use std::fs;
use std::path::PathBuf;

/// The folder of this process's own cgroup; `None` where no hierarchy of version 2 is mounted.
#[must_use]
pub fn own_cgroup() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    let mount: Vec<&str> = mount.split(' ').collect();
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let below = own.strip_prefix(mount[3]).unwrap_or(own);
    Some(PathBuf::from(mount[4]).join(below.trim_start_matches('/')))
}
