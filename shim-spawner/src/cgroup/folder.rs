//! The folder of a cgroup of version 2. It proves that a process is a member before it signals it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use pidfd_watcher::{Pid, Process, Signal};
use rustix::fs::{Dir, FileType, Mode, OFlags, openat};
use rustix::io::{Errno, retry_on_intr, write};

/// How many pidfds of members are open at the same time.
const OPEN_AT_ONCE: usize = 256;

/// How often the list is read for members that appeared while the others were signalled.
const ROUNDS: usize = 8;

/// Which processes were signalled.
#[derive(Debug, Default)]
pub(crate) struct Signalled {
    pub(crate) numbers: BTreeSet<i32>,
    /// `EPERM`, if one of them belongs to another user.
    pub(crate) refused: Option<io::Error>,
}

/// The open folder of a cgroup.
#[derive(Debug)]
pub(crate) struct CgroupFolder(OwnedFd);

impl CgroupFolder {
    pub(crate) fn new(folder: OwnedFd) -> CgroupFolder {
        CgroupFolder(folder)
    }

    /// Sends a signal to every member, by pidfd. The next round finds members that are born
    /// meanwhile. A process that forks without pause can outrun the rounds.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<Signalled> {
        let mut signalled = Signalled::default();
        for _ in 0..ROUNDS {
            if !self.signal_members(signal, &mut signalled)? {
                break;
            }
        }
        Ok(signalled)
    }

    /// Signals the members that are not in `signalled` yet. Returns whether there was one.
    fn signal_members(&self, signal: Signal, signalled: &mut Signalled) -> io::Result<bool> {
        let numbers = self.numbers()?.into_iter();
        let fresh = numbers.filter(|number| !signalled.numbers.contains(number));
        let fresh: Vec<i32> = fresh.collect();
        for some in fresh.chunks(OPEN_AT_ONCE) {
            for member in self.prove(some)? {
                signalled.numbers.insert(raw(member.pid()));
                match member.send_signal(signal).map_err(io::Error::from) {
                    Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                        signalled.refused = Some(error);
                    }
                    // It has ended.
                    _ => {}
                }
            }
        }
        Ok(!fresh.is_empty())
    }

    /// Kills all members at once, however fast they fork. `ENOENT` before Linux 5.14.
    pub(crate) fn kill(&self) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = openat(&self.0, "cgroup.kill", flags, Mode::empty())?;
        retry_on_intr(|| write(&file, b"1"))?;
        Ok(())
    }

    /// Whether a process is in this cgroup or below it. A zombie does not count.
    pub(crate) fn is_populated(&self) -> io::Result<bool> {
        match self.read("cgroup.events") {
            Ok(events) => Ok(events.lines().any(|line| line == "populated 1")),
            // A cgroup that was removed has no members.
            Err(error) if is_removed(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The members of this cgroup and of those below it that are alive, each proven.
    pub(crate) fn members(&self) -> io::Result<Vec<Process>> {
        let numbers: Vec<i32> = self.numbers()?.into_iter().collect();
        self.prove(&numbers)
    }

    /// Opens those of `numbers` that are members. A process may have got one of the numbers after
    /// the list was read. So the list is read again: a process that is open, alive and listed is a
    /// member.
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

    /// The text of one of its files.
    pub(crate) fn read(&self, name: &str) -> io::Result<String> {
        read(&self.0, name)
    }

    /// The numbers in the lists of this cgroup and of those below it. A list that cannot be read is
    /// skipped: the cgroup was removed, or made threaded.
    pub(crate) fn numbers(&self) -> io::Result<BTreeSet<i32>> {
        let mut numbers = BTreeSet::new();
        collect(&self.0, &mut numbers)?;
        Ok(numbers)
    }
}

impl AsFd for CgroupFolder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn collect(folder: &OwnedFd, numbers: &mut BTreeSet<i32>) -> io::Result<()> {
    match read(folder, "cgroup.procs") {
        Ok(list) => numbers.extend(list.lines().filter_map(|line| line.parse::<i32>().ok())),
        Err(error) if is_removed(&error) => return Ok(()),
        // The cgroup is threaded.
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn sleeper() -> Child {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped());
        command.spawn().unwrap()
    }

    /// The list in a folder of our own says what the test wants it to say. A number that was read
    /// in it before may belong to a stranger by the time it is opened.
    #[test]
    fn only_what_lives_and_stands_in_the_list_once_it_is_open_is_a_member() {
        let mut children = [sleeper(), sleeper(), sleeper()];
        let numbers = children.each_ref().map(|child| child.id().cast_signed());
        let [member, _stranger, ended] = numbers;
        children[2].kill().unwrap();
        let zombie = Process::from_child(&mut children[2]).unwrap();
        zombie.wait().unwrap();

        let name = format!("cgroup-folder-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        let list = path.join("cgroup.procs");
        fs::write(&list, format!("{member}\n{ended}\n")).unwrap();
        let folder = CgroupFolder::new(File::open(&path).unwrap().into());
        let proven = folder.prove(&numbers);
        fs::remove_dir_all(&path).unwrap();
        for child in &mut children {
            drop(child.stdin.take());
            child.wait().unwrap();
        }
        let proven = proven.unwrap().into_iter();
        let proven: Vec<i32> = proven.map(|process| raw(process.pid())).collect();
        assert_eq!(proven, [member]);
    }
}
