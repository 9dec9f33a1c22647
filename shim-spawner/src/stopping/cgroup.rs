//! A cgroup of version 2, by its folder.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use pidfd_watcher::{Pid, Process, Signal};
use rustix::fs::{Dir, FileType, Mode, OFlags, openat};
use rustix::io::{Errno, retry_on_intr, write};

use super::rest::Rest;
use crate::StopError;
use crate::sys;

/// How many pidfds of members are open at the same time.
const OPEN_AT_ONCE: usize = 256;

/// How often the list is read for members that came while the others were signalled.
const ROUNDS: usize = 8;

/// The folder of a cgroup, open.
#[derive(Debug)]
pub(crate) struct CgroupFolder(OwnedFd);

impl CgroupFolder {
    pub(crate) fn new(folder: OwnedFd) -> CgroupFolder {
        CgroupFolder(folder)
    }

    /// Refuses a cgroup that this process is in.
    pub(super) fn check(&self) -> Result<(), StopError> {
        let own = sys::own_pid().map_err(|errno| StopError::Cgroup(errno.into()))?;
        if self
            .numbers()
            .map_err(StopError::Cgroup)?
            .contains(&raw(own))
        {
            return Err(StopError::OwnProcess);
        }
        Ok(())
    }

    /// Signals every member, and the leader if it is none.
    pub(super) fn signal(&self, leader: &Process, signal: Signal) -> io::Result<()> {
        let mut signalled = BTreeSet::new();
        if signal != Signal::KILL || self.kill().is_err() {
            for _ in 0..ROUNDS {
                if !self.signal_members(signal, &mut signalled)? {
                    break;
                }
            }
        }
        if signalled.contains(&raw(leader.pid())) {
            return Ok(());
        }
        match leader.send_signal(signal) {
            Ok(()) | Err(pidfd_watcher::Error::NotFound(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Signals the members that are not `signalled` yet: whether there was one.
    fn signal_members(&self, signal: Signal, signalled: &mut BTreeSet<i32>) -> io::Result<bool> {
        let numbers = self.numbers()?.into_iter();
        let fresh: Vec<i32> = numbers.filter(|pid| !signalled.contains(pid)).collect();
        for some in fresh.chunks(OPEN_AT_ONCE) {
            for member in self.prove(some)? {
                signalled.insert(raw(member.pid()));
                // It has ended, or is another user's: the report says who is left.
                let _ = member.send_signal(signal);
            }
        }
        Ok(!fresh.is_empty())
    }

    /// All at once, however fast they fork (Linux 5.14).
    fn kill(&self) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(&self.0, "cgroup.kill", flags, Mode::empty())?;
        retry_on_intr(|| write(&file, b"1"))?;
        Ok(())
    }

    pub(super) fn rest(&self) -> io::Result<Rest> {
        if !self.is_populated()? {
            return Ok(Rest::Empty);
        }
        let members = self.members().unwrap_or_default();
        Ok(if members.is_empty() {
            // On their way out, or not to be seen from this PID namespace.
            Rest::Unknown
        } else {
            Rest::Members(members)
        })
    }

    fn is_populated(&self) -> io::Result<bool> {
        match read(&self.0, "cgroup.events") {
            Ok(events) => Ok(events.lines().any(|line| line == "populated 1")),
            // A cgroup that was removed has no members.
            Err(error) if is_removed(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Members of this cgroup and of those below it which live, each proven.
    pub(super) fn members(&self) -> io::Result<Vec<Process>> {
        let numbers: Vec<i32> = self.numbers()?.into_iter().collect();
        self.prove(&numbers)
    }

    /// Opens those of `numbers` that are members: what is open, lives, and has its number in the
    /// list after that is none that came to have the number in between.
    fn prove(&self, numbers: &[i32]) -> io::Result<Vec<Process>> {
        let pids = numbers.iter().copied().filter(|&number| number > 0);
        let mut opened = Vec::new();
        for pid in pids.filter_map(Pid::from_raw) {
            match Process::open(pid) {
                Ok(process) => opened.push(process),
                Err(pidfd_watcher::Error::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let listed = self.numbers()?;
        opened.retain(|process| {
            listed.contains(&raw(process.pid())) && matches!(process.try_wait(), Ok(None))
        });
        Ok(opened)
    }

    /// What the lists of this cgroup and of those below it say. A list that cannot be read is
    /// passed over: the cgroup was removed, or made threaded.
    fn numbers(&self) -> io::Result<BTreeSet<i32>> {
        let mut numbers = BTreeSet::new();
        collect(&self.0, &mut numbers)?;
        Ok(numbers)
    }
}

fn collect(folder: &OwnedFd, numbers: &mut BTreeSet<i32>) -> io::Result<()> {
    match read(folder, "cgroup.procs") {
        Ok(list) => numbers.extend(list.lines().filter_map(|line| line.parse::<i32>().ok())),
        Err(error) if is_removed(&error) => return Ok(()),
        // Of a threaded cgroup.
        Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() != FileType::Directory || matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(folder, name, flags, Mode::empty()) {
            Ok(below) => collect(&below, numbers)?,
            Err(Errno::NOENT | Errno::NODEV) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn read(folder: &OwnedFd, name: &str) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut text = String::new();
    File::from(openat(folder, name, flags, Mode::empty())?).read_to_string(&mut text)?;
    Ok(text)
}

fn is_removed(error: &io::Error) -> bool {
    let removed = [Errno::NOENT, Errno::NODEV].map(|errno| Some(errno.raw_os_error()));
    removed.contains(&error.raw_os_error())
}

fn raw(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}
