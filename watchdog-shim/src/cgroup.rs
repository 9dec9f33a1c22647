//! A cgroup (version 2) for COMMAND's tree. All its members can be killed at once, however fast
//! they fork.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pidfd_watcher::Process;
use rustix::process::{Pid, Signal};

use crate::namespace;
use crate::sys::{self, SoleThread};

/// How many pidfds of members are open at once.
const OPEN_AT_ONCE: usize = 512;

/// The folder of a cgroup that was made for COMMAND.
#[derive(Clone, Debug)]
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes a leaf below this process's own cgroup. A child checks that a process can move into
    /// it.
    pub(crate) fn make(alone: &SoleThread) -> io::Result<Cgroup> {
        // Shims in two PID namespaces may have the same pid, and see the same cgroups.
        let namespace = fs::metadata("/proc/self/ns/pid")?.ino();
        let name = format!(
            "watchdog-shim-{}-{namespace}",
            sys::own_pid()?.as_raw_nonzero()
        );
        let cgroup = Cgroup(own_folder()?.join(name));
        match fs::create_dir(&cgroup.0) {
            // An earlier shim with this pid was killed with all its processes, and left the folder
            // behind. A cgroup that is in use cannot be removed, so it is not taken over.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                cgroup.remove();
                fs::create_dir(&cgroup.0)?;
            }
            made => made?,
        }
        let tried = namespace::in_child(alone, || cgroup.write("cgroup.procs", "0").map(|()| 0));
        match tried {
            Ok(0) => Ok(cgroup),
            Ok(errno) => {
                cgroup.remove();
                Err(io::Error::from_raw_os_error(errno))
            }
            Err(error) => {
                cgroup.remove();
                Err(error)
            }
        }
    }

    /// The file `cgroup.procs`. A process that writes 0 to it becomes a member.
    pub(crate) fn procs(&self) -> io::Result<OwnedFd> {
        Ok(self.open("cgroup.procs")?.into())
    }

    /// Sends a signal to every member but one.
    ///
    /// A cgroup whose list cannot be read is skipped: COMMAND may have removed it, or made it
    /// threaded.
    pub(crate) fn signal(&self, signal: Signal, except: Option<Pid>) {
        for folder in self.folders() {
            for some in members(&folder).unwrap_or_default().chunks(OPEN_AT_ONCE) {
                for process in prove(&folder, some) {
                    if Some(process.pid()) != except {
                        // An error means that the process has ended, or belongs to another user.
                        // The report at the end says what is left.
                        let _ = process.send_signal(signal);
                    }
                }
            }
        }
    }

    /// Sends SIGKILL to all members. Since Linux 5.14 the kernel does this in one step.
    pub(crate) fn kill(&self) {
        if self.write("cgroup.kill", "1").is_err() {
            self.signal(Signal::KILL, None);
        }
    }

    /// Whether a process is in this cgroup, or in one below it.
    pub(crate) fn is_populated(&self) -> bool {
        let events = read(&self.0.join("cgroup.events"));
        // A cgroup that was removed has no members.
        events.is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
    }

    /// Removes this cgroup, and the cgroups below it that COMMAND has made. A cgroup that is in use
    /// stays.
    pub(crate) fn remove(&self) {
        for folder in self.folders().iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }

    /// This folder and all below it. Each comes before those below it.
    fn folders(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.0.clone()];
        let mut next = 0;
        while let Some(folder) = folders.get(next) {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let below: Vec<PathBuf> = entries
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path())
                .collect();
            folders.extend(below);
            next += 1;
        }
        folders
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        io::Write::write_all(&mut self.open(file)?, text.as_bytes())
    }

    /// Opens without `O_CREAT`: the error is ENOENT if the kernel has no such file.
    fn open(&self, file: &str) -> io::Result<File> {
        OpenOptions::new().write(true).open(self.0.join(file))
    }
}

/// How often a file is read if an error does not concern the cgroup.
const TRIES: usize = 3;

/// Reads a file of a cgroup. A file that cannot be read would look like an empty one. So the read
/// is repeated after an error that may pass, such as a lack of memory or descriptors.
fn read(file: &Path) -> io::Result<String> {
    let mut text = fs::read_to_string(file);
    for _ in 1..TRIES {
        match text.as_ref().err().and_then(io::Error::raw_os_error) {
            // It was read, or it is gone, hidden, or of another kind of cgroup.
            None | Some(libc::ENOENT | libc::ENODEV | libc::EACCES | libc::EOPNOTSUPP) => break,
            Some(_) => text = fs::read_to_string(file),
        }
    }
    text
}

fn members(folder: &Path) -> io::Result<Vec<Pid>> {
    let list = read(&folder.join("cgroup.procs"))?;
    // 0 stands for a member outside of this PID namespace.
    Ok(list
        .lines()
        .filter_map(|line| sys::pid(line.parse().ok()?))
        .collect())
}

/// Opens those of `pids` that are members.
///
/// A pid in the list may belong to another process by the time it is opened. So the list is read
/// again after that. A process that still lives and whose number is in the list is a member.
/// One reading of the list serves many processes.
fn prove(folder: &Path, pids: &[Pid]) -> Vec<Process> {
    let opened = pids.iter().filter_map(|&pid| Process::open(pid).ok());
    let mut opened: Vec<Process> = opened.collect();
    let listed = members(folder).unwrap_or_default().into_iter();
    let listed: BTreeSet<_> = listed.map(Pid::as_raw_nonzero).collect();
    opened.retain(|process| {
        listed.contains(&process.pid().as_raw_nonzero()) && matches!(process.try_wait(), Ok(None))
    });
    opened
}

/// The folder of this process's own cgroup: cgroups(7).
fn own_folder() -> io::Result<PathBuf> {
    let unsupported = |what: &str| io::Error::new(io::ErrorKind::Unsupported, what.to_owned());
    let list = fs::read_to_string("/proc/self/cgroup")?;
    let path = list.lines().find_map(|line| line.strip_prefix("0::"));
    let path = path.ok_or_else(|| unsupported("no cgroup of version 2"))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let (root, point) = mounts
        .lines()
        .find_map(cgroup_mount)
        .ok_or_else(|| unsupported("no cgroup2 file system is mounted"))?;
    let below = Path::new(path).strip_prefix(root);
    let below = below.map_err(|_| unsupported("the own cgroup is not below what is mounted"))?;
    Ok(Path::new(point).join(below))
}

/// Root and mount point in a line of mountinfo, if the line is for a cgroup2 file system.
fn cgroup_mount(line: &str) -> Option<(&str, &str)> {
    let (ours, theirs) = line.split_once(" - ")?;
    let mut ours = ours.split(' ').skip(3);
    (theirs.split(' ').next()? == "cgroup2").then_some((ours.next()?, ours.next()?))
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn sleeper() -> Child {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped());
        command.spawn().expect("run cat")
    }

    /// The list in a folder of our own says what the test wants it to say.
    #[test]
    fn only_what_lives_and_stands_in_the_list_once_it_is_open_is_a_member() {
        let mut children = [sleeper(), sleeper(), sleeper()];
        let pids = children.each_ref().map(Pid::from_child);
        let [member, _stranger, ended] = pids.map(Pid::as_raw_nonzero);
        children[2].kill().expect("own child");
        let zombie = Process::from_child(&mut children[2]).expect("a pidfd");
        zombie.wait().expect("poll");

        let name = format!("shim-cgroup-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).expect("a folder");
        let list = format!("{member}\n{ended}\n");
        fs::write(folder.join("cgroup.procs"), list).expect("a list");
        let proven = prove(&folder, &pids).into_iter();
        let proven: Vec<_> = proven
            .map(|process| process.pid().as_raw_nonzero())
            .collect();
        fs::remove_dir_all(&folder).expect("the folder");
        for child in &mut children {
            drop(child.stdin.take());
            child.wait().expect("own child");
        }
        assert_eq!(proven, [member]);
    }

    #[test]
    fn cgroup2_is_found_among_the_mounts() {
        let line = "42 32 0:37 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw";
        assert_eq!(cgroup_mount(line), Some(("/", "/sys/fs/cgroup")));
        let line = "42 32 0:37 /a /b rw - cgroup2 none rw,nsdelegate";
        assert_eq!(cgroup_mount(line), Some(("/a", "/b")));
        let line = "41 32 0:36 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu";
        assert_eq!(cgroup_mount(line), None);
    }
}
