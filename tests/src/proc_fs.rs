//! What /proc says of descriptors and processes: the witness that is not our own code.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;

/// The open descriptors of this process: number and what it names. The descriptor that reads the
/// folder is left out.
pub fn own_fds() -> BTreeMap<i32, String> {
    let listed: Vec<i32> = fs::read_dir("/proc/self/fd")
        .expect("/proc/self/fd")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    listed
        .into_iter()
        .filter_map(|fd| Some((fd, link(format!("/proc/self/fd/{fd}"))?)))
        .collect()
}

/// The open descriptors of another process; empty once it is gone.
pub fn fds_of(pid: i32) -> BTreeMap<i32, String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return BTreeMap::new();
    };
    entries
        .filter_map(|entry| {
            let fd = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Some((fd, link(format!("/proc/{pid}/fd/{fd}"))?))
        })
        .collect()
}

fn link(path: String) -> Option<String> {
    let target: PathBuf = fs::read_link(path).ok()?;
    Some(target.to_string_lossy().into_owned())
}

/// A line of /proc/PID/stat, past the command name: state, parent, group and on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    pub pid: i32,
    pub state: char,
    pub ppid: i32,
    pub pgrp: i32,
    pub session: i32,
    pub start_time: u64,
}

impl Stat {
    /// Dead, and not waited for yet.
    pub fn is_zombie(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

/// Reads /proc/PID/stat; `None` once the process is gone.
pub fn stat(pid: i32) -> Option<Stat> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name may hold spaces and brackets: the last one closes it.
    let fields: Vec<&str> = line[line.rfind(')')? + 2..].split(' ').collect();
    Some(Stat {
        pid,
        state: fields[0].chars().next()?,
        ppid: fields[1].parse().ok()?,
        pgrp: fields[2].parse().ok()?,
        session: fields[3].parse().ok()?,
        start_time: fields[19].parse().ok()?,
    })
}

/// Every process there is.
pub fn all() -> Vec<Stat> {
    fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| stat(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .collect()
}

/// The children of `pid`, zombies included.
pub fn children_of(pid: i32) -> Vec<Stat> {
    all().into_iter().filter(|stat| stat.ppid == pid).collect()
}

/// Whether the process runs: it exists and is no zombie.
pub fn is_running(pid: i32) -> bool {
    stat(pid).is_some_and(|stat| !stat.is_zombie())
}

/// Whether some epoll instance of this process has an interest in this very descriptor of
/// `process`.
pub fn watched_by_epoll(process: impl AsFd) -> bool {
    let number = process.as_fd().as_raw_fd().to_string();
    own_fds()
        .into_iter()
        .filter(|(_, file)| file == "anon_inode:[eventpoll]")
        .filter_map(|(epoll, _)| fs::read_to_string(format!("/proc/self/fdinfo/{epoll}")).ok())
        .any(|info| {
            info.lines()
                .filter_map(|line| line.strip_prefix("tfd:"))
                .any(|line| line.split_ascii_whitespace().next() == Some(&number))
        })
}

/// The signals that a thread has open, but for SIGKILL and SIGSTOP, which cannot be blocked, and
/// the two that the C library keeps open for itself. Signal 1 is bit 0.
pub fn open_signals(pid: i32, thread: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/task/{thread}/status")).expect("a thread");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("SigBlk:\t"));
    let blocked = u64::from_str_radix(line.expect("the field"), 16).expect("a mask");
    let always = [libc::SIGKILL, libc::SIGSTOP, 32, 33].map(|signal| 1 << (signal - 1));
    !(blocked | always.iter().sum::<u64>())
}

/// The sum of these fields of a process's memory, in KiB; 0 once it is gone.
pub fn rollup(pid: i32, fields: &[&str]) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let value = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        fields
            .contains(&words.next()?)
            .then(|| words.next()?.parse::<u64>().ok())?
    };
    text.lines().filter_map(value).sum()
}
