//! A cgroup of version 2 for shims.

mod folder;

use std::error::Error;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pidfd_watcher::{Pid, Signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, fstatfs, openat};
use rustix::io::Errno;

use crate::sys;

pub(crate) use folder::CgroupFolder;

/// `CGROUP2_SUPER_MAGIC` of include/uapi/linux/magic.h.
const CGROUP2: i64 = 0x6367_7270;

/// A cgroup of version 2. A process that is born in it stays in it, whatever sessions and groups it
/// makes, unless it may write to another cgroup. Give a spawner a duplicate of its descriptor by
/// [`ShimSpawner::cgroup`](crate::ShimSpawner::cgroup).
///
/// ```no_run
/// use std::os::fd::AsFd;
/// use std::time::Duration;
/// use shim_spawner::{Cgroup, ShimSpawner};
///
/// let cgroup = Cgroup::make("box-7")?;
/// let shim = ShimSpawner::new("/usr/libexec/my-shim")
///     .cgroup(cgroup.as_fd().try_clone_to_owned()?)
///     .spawn()?;
/// // Kill the shim and everything that it has started:
/// cgroup.kill()?;
/// assert!(cgroup.wait_empty(Duration::from_secs(10))?);
/// cgroup.remove()?;
/// # drop(shim);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// If this value made the cgroup, its drop removes the cgroup and those below it, provided that no
/// process is in them. The drop kills nobody and does not wait. A zombie does not keep a cgroup.
///
/// # References
/// [cgroups(7)](https://man7.org/linux/man-pages/man7/cgroups.7.html)
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    folder: CgroupFolder,
    /// The process that made it. `None`: it was opened, not made.
    maker: Option<Pid>,
}

/// A call on a cgroup failed.
#[derive(Debug)]
pub struct CgroupError {
    path: PathBuf,
    error: io::Error,
}

impl CgroupError {
    /// The folder or file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The errno, if a system call failed.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        self.error.raw_os_error()
    }
}

impl fmt::Display for CgroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the cgroup {} could not be used", self.path.display())
    }
}

impl Error for CgroupError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

/// Keeps the errno if there is one.
impl From<CgroupError> for io::Error {
    fn from(error: CgroupError) -> io::Error {
        match error.raw_os_error() {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::new(error.error.kind(), error),
        }
    }
}

/// Adds `path` to an error.
fn at<T>(path: &Path, result: Result<T, impl Into<io::Error>>) -> Result<T, CgroupError> {
    result.map_err(|error| CgroupError {
        path: path.to_owned(),
        error: error.into(),
    })
}

impl Cgroup {
    /// Makes a cgroup of this name below this process's own.
    ///
    /// # Errors
    /// Those of [`make_in`](Cgroup::make_in). `Unsupported` if no cgroup of version 2 is mounted,
    /// or if this process's own cgroup is outside of what is mounted.
    pub fn make(name: impl AsRef<Path>) -> Result<Cgroup, CgroupError> {
        Cgroup::make_in(own()?, name)
    }

    /// Makes a cgroup of this name below another one.
    ///
    /// # Errors
    /// - `EACCES`, `EROFS`: this process may not.
    /// - `EEXIST`: there is one of this name, which [`open`](Cgroup::open) opens.
    /// - `EAGAIN`: `cgroup.max.descendants` is reached.
    /// - `Unsupported`: the folder is not a cgroup of version 2.
    /// - `ENOENT`, `EMFILE`.
    pub fn make_in(
        parent: impl AsRef<Path>,
        name: impl AsRef<Path>,
    ) -> Result<Cgroup, CgroupError> {
        let parent = Cgroup::open(parent)?;
        let path = parent.path.join(name);
        at(&path, fs::create_dir(&path))?;
        let mut made = Cgroup::open(&path).inspect_err(|_| drop(fs::remove_dir(&path)))?;
        made.maker = sys::own_pid().ok();
        Ok(made)
    }

    /// Opens a cgroup that exists. It is not removed when this value is dropped.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `EACCES`, `EMFILE`. `Unsupported` if the folder is not a cgroup of
    /// version 2.
    pub fn open(path: impl AsRef<Path>) -> Result<Cgroup, CgroupError> {
        let path = path.as_ref().to_owned();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = at(&path, openat(CWD, &path, flags, Mode::empty()))?;
        let system = at(&path, fstatfs(&folder))?;
        if system.f_type as i64 != CGROUP2 {
            let error = io::Error::new(io::ErrorKind::Unsupported, "no cgroup of version 2");
            return at(&path, Err(error));
        }
        Ok(Cgroup {
            path,
            folder: CgroupFolder::new(folder),
            maker: None,
        })
    }

    /// The folder of this cgroup.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a process is in this cgroup or in one below it. A zombie does not count.
    ///
    /// # Errors
    /// `ENODEV`, `ENOENT` if it was removed; `EMFILE`.
    pub fn is_populated(&self) -> Result<bool, CgroupError> {
        let mut events = self.events()?;
        at(&self.path, populated(&mut events))
    }

    /// Waits until no process is in this cgroup or below it, but no longer than `time` on the
    /// monotonic clock. Returns whether it is empty.
    ///
    /// # Errors
    /// As [`is_populated`](Cgroup::is_populated).
    pub fn wait_empty(&self, time: Duration) -> Result<bool, CgroupError> {
        // If the clock cannot reach this time, there is no deadline.
        let deadline = Instant::now().checked_add(time);
        let mut events = self.events()?;
        loop {
            // A change after this read makes the poll return.
            if !at(&self.path, populated(&mut events))? {
                return Ok(true);
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            match poll(&mut [PollFd::new(&events, PollFlags::PRI)], left.as_ref()) {
                Ok(0) => return Ok(false),
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return at(&self.path, Err(errno)),
            }
        }
    }

    /// The processes in this cgroup and in those below it that have a pid in this PID namespace.
    ///
    /// These are only numbers: a process may end at any time, and another one may get its pid.
    ///
    /// # Errors
    /// `ENODEV`, `ENOENT` if it was removed; `EOPNOTSUPP` if it is threaded.
    pub fn pids(&self) -> Result<Vec<Pid>, CgroupError> {
        // Its own list shows whether the cgroup exists. Those below may be removed at any time.
        at(&self.path, self.folder.read("cgroup.procs"))?;
        let numbers = at(&self.path, self.folder.numbers())?;
        // 0 stands for a member outside of this PID namespace.
        Ok(numbers.into_iter().filter_map(Pid::from_raw).collect())
    }

    /// Sends a signal to every process in this cgroup and below it, by pidfd. It may miss a process
    /// that is born meanwhile.
    ///
    /// Another process may have got a pid of the list before it is opened. So the list is read
    /// again after that: a process that is alive and listed is a member.
    ///
    /// # Errors
    /// Those of [`pids`](Cgroup::pids); `EMFILE`; `EPERM` if a process could not be signalled. Then
    /// all others were.
    pub fn signal(&self, signal: Signal) -> Result<(), CgroupError> {
        at(&self.path, self.folder.read("cgroup.procs"))?;
        let signalled = at(&self.path, self.folder.signal(signal))?;
        at(&self.path, signalled.refused.map_or(Ok(()), Err))
    }

    /// Kills every process in this cgroup and below it. Since Linux 5.14 the kernel does that at
    /// once (`cgroup.kill`), whatever is born meanwhile. Before, SIGKILL goes to the listed
    /// processes, by [`signal`](Cgroup::signal).
    ///
    /// # Errors
    /// `EACCES`; `ENODEV` if it was removed; those of [`signal`](Cgroup::signal).
    pub fn kill(&self) -> Result<(), CgroupError> {
        match self.folder.kill() {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => self.signal(Signal::KILL),
            killed => at(&self.path, killed),
        }
    }

    /// Removes this cgroup and those below it.
    ///
    /// # Errors
    /// `EBUSY` if a process is in one of them; `EACCES`.
    pub fn remove(mut self) -> Result<(), CgroupError> {
        self.maker = None;
        self.remove_folders()
    }

    fn remove_folders(&self) -> Result<(), CgroupError> {
        for folder in self.folders().iter().rev() {
            match fs::remove_dir(folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                done => at(folder, done)?,
            }
        }
        Ok(())
    }

    /// This folder and all below it. Each folder comes before those below it.
    fn folders(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.path.clone()];
        let mut next = 0;
        while let Some(folder) = folders.get(next) {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let below = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            let below: Vec<PathBuf> = below.map(|entry| entry.path()).collect();
            folders.extend(below);
            next += 1;
        }
        folders
    }

    fn events(&self) -> Result<File, CgroupError> {
        const NAME: &str = "cgroup.events";
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = openat(&self.folder, NAME, flags, Mode::empty());
        at(&self.path.join(NAME), file.map(File::from))
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Not in a copy made by fork: the maker removes it.
        if self.maker.is_some() && self.maker == sys::own_pid().ok() {
            let _ = self.remove_folders();
        }
    }
}

fn populated(events: &mut File) -> io::Result<bool> {
    let mut text = String::new();
    events.rewind()?;
    events.read_to_string(&mut text)?;
    Ok(text.lines().any(|line| line == "populated 1"))
}

/// The folder of this process's own cgroup.
fn own() -> Result<PathBuf, CgroupError> {
    const LIST: &str = "/proc/self/cgroup";
    const MOUNTS: &str = "/proc/self/mountinfo";
    let unsupported = |path: &str, what: &str| {
        at::<PathBuf>(
            Path::new(path),
            Err(io::Error::new(io::ErrorKind::Unsupported, what.to_owned())),
        )
    };
    let list = at(Path::new(LIST), fs::read_to_string(LIST))?;
    let Some(path) = list.lines().find_map(|line| line.strip_prefix("0::")) else {
        return unsupported(LIST, "no cgroup of version 2");
    };
    let mounts = at(Path::new(MOUNTS), fs::read_to_string(MOUNTS))?;
    let Some((root, point)) = mounts.lines().find_map(cgroup_mount) else {
        return unsupported(MOUNTS, "no cgroup2 file system is mounted");
    };
    match Path::new(path).strip_prefix(root) {
        Ok(below) => Ok(Path::new(point).join(below)),
        Err(_) => unsupported(LIST, "the own cgroup is not below what is mounted"),
    }
}

/// Root and mount point of a mountinfo line, if it is a cgroup2 file system.
fn cgroup_mount(line: &str) -> Option<(&str, &str)> {
    let (mount, system) = line.split_once(" - ")?;
    if system.split(' ').next()? != "cgroup2" {
        return None;
    }
    let mut fields = mount.split(' ').skip(3);
    Some((fields.next()?, fields.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_cgroup2_mount_is_taken() {
        for (line, expected) in [
            (
                "42 32 0:37 / /sys/fs/cgroup rw shared:9 - cgroup2 none rw",
                Some(("/", "/sys/fs/cgroup")),
            ),
            ("42 32 0:37 /a /b rw - cgroup2 none rw", Some(("/a", "/b"))),
            ("41 32 0:36 / /sys/fs/cgroup/cpu rw - cgroup none rw", None),
            ("", None),
        ] {
            assert_eq!(cgroup_mount(line), expected, "{line}");
        }
    }

    #[test]
    fn folder_that_is_no_cgroup_is_refused() {
        let error = Cgroup::open("/proc").unwrap_err();
        assert_eq!(error.error.kind(), io::ErrorKind::Unsupported, "{error}");
    }
}
