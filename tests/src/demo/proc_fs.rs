//! What /proc says of the processes of a run and of their descriptors.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;

use rustix::process::Signal;

pub(super) use crate::proc_fs::{Stat, all, stat};

/// The variable that every process of a run inherits from the first one, with the run's own value.
pub(super) const MARK: &str = "SHIM_DEMO_RUN";

/// An open descriptor of some process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Open {
    pub(super) dev: u64,
    pub(super) ino: u64,
    /// What /proc calls it: `pipe:[1234]`, a path, ...
    pub(super) name: String,
    /// What its fdinfo says that it says of no other file, where the inode does not tell.
    pub(super) fdinfo: Option<String>,
}

/// The open descriptors of a process, by number.
pub(super) type FdTable = BTreeMap<i32, Open>;

/// The open descriptors of `pid`; empty once it is gone.
pub(super) fn fds_of(pid: i32) -> FdTable {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return FdTable::new();
    };
    // All numbers first: the descriptor that reads the folder is closed before any is looked at.
    let fds: Vec<i32> = entries
        .filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    fds.into_iter()
        .filter_map(|fd| {
            let path = format!("/proc/{pid}/fd/{fd}");
            let name = fs::read_link(&path).ok()?.to_string_lossy().into_owned();
            // Follows the link to the file itself, whatever its kind.
            let file = fs::metadata(&path).ok()?;
            Some((
                fd,
                Open {
                    dev: file.dev(),
                    ino: file.ino(),
                    fdinfo: fdinfo_of(pid, fd, &name),
                    name,
                },
            ))
        })
        .collect()
}

/// What tells a pidfd or an eventfd from all others of its kind: the process, or the kernel's own
/// number. Other anonymous files have nothing like it, nor has the pidfd of a process that was
/// reaped.
///
/// Before Linux 6.9 a pidfd has the one inode that all anonymous files share.
/// <https://man7.org/linux/man-pages/man5/proc_pid_fdinfo.5.html>
fn fdinfo_of(pid: i32, fd: i32, name: &str) -> Option<String> {
    let key = match name {
        "anon_inode:[pidfd]" => "Pid:",
        "anon_inode:[eventfd]" => "eventfd-id:",
        _ => return None,
    };
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
    let value = info.lines().find_map(|line| line.strip_prefix(key))?.trim();
    (value != "-1").then(|| value.to_owned())
}

/// Whether SIGTERM does nothing to it.
pub(super) fn ignores_sigterm(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Signal 1 is bit 0.
    ignored.is_some_and(|mask| mask >> (Signal::TERM.as_raw() - 1) & 1 == 1)
}

/// Every process that carries the mark of the run.
pub(super) fn marked(run: &str) -> Vec<Stat> {
    all()
        .into_iter()
        .filter(|stat| is_marked(stat.pid, run))
        .collect()
}

/// Whether the process carries the mark of the run. A zombie has no environment any more.
pub(super) fn is_marked(pid: i32, run: &str) -> bool {
    let mark = format!("{MARK}={run}");
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment
        .split(|byte| *byte == 0)
        .any(|variable| variable == mark.as_bytes())
}

/// The command line, for a message to a human.
pub(super) fn command_line(pid: i32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line)
        .trim_end_matches('\0')
        .replace('\0', " ")
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, AsRawFd};

    use rustix::event::{EventfdFlags, eventfd};

    use super::*;
    use crate::demo::process::Process;
    use crate::demo::sweep::own_pid;

    fn open(file: impl AsFd) -> Open {
        let fd = file.as_fd().as_raw_fd();
        fds_of(own_pid()).remove(&fd).unwrap()
    }

    #[test]
    fn pidfd_is_known_by_its_process() {
        let me = Process::open(own_pid()).unwrap().unwrap();
        let parent = std::os::unix::process::parent_id().try_into().unwrap();
        let parent = Process::open(parent).unwrap().unwrap();
        assert_eq!(open(&me).fdinfo, Some(own_pid().to_string()));
        assert_ne!(open(&me).fdinfo, open(&parent).fdinfo);
    }

    #[test]
    fn eventfd_is_known_by_the_number_that_the_kernel_gave_it() {
        let new = || eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        let (one, other) = (new(), new());
        let copy = one.try_clone().unwrap();
        assert!(open(&one).fdinfo.is_some());
        assert_eq!(open(&one), open(&copy));
        assert_ne!(open(&one), open(&other));
    }
}
