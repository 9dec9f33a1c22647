//! Reads about processes in /proc.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;

use pidfd_watcher::proc_stat_field;
use rustix::fs::{Dir, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use crate::sys;

/// /proc, kept open: COMMAND may mount something over it, or unmount it.
#[derive(Debug)]
pub(crate) struct Proc(OwnedFd);

/// The fields that are used of a line of /proc/PID/stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) parent: i32,
    pub(crate) group: i32,
    flags: u32,
}

/// Why a process's file in /proc could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// No descriptor is free.
    OutOfDescriptors,
    /// Another error, which the next try may not meet: `ENOMEM`.
    Failed,
}

/// The numbers of all processes, by the number of their parent.
#[derive(Debug, Default)]
pub(crate) struct Children {
    pub(crate) of: BTreeMap<i32, Vec<i32>>,
    /// Some processes may be missing: a file could not be read.
    pub(crate) is_cut: bool,
}

impl Proc {
    /// Returns an error if /proc is missing, cannot be read, or shows another PID namespace than
    /// this process's.
    pub(crate) fn open() -> io::Result<Proc> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let proc = rustix::fs::open("/proc", flags, Mode::empty())?;
        let proc = Proc(sys::above_standard_streams(proc)?);
        let own = sys::own_pid()?.as_raw_nonzero().get();
        let shown = rustix::fs::readlinkat(&proc.0, "self", [])?;
        if shown.to_str() != Ok(&own.to_string()) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "/proc shows another PID namespace",
            ));
        }
        // A filter may refuse to list folders. Any folder shows that; this one is short.
        let own = rustix::fs::openat(&proc.0, "self/task", flags, Mode::empty())?;
        Dir::new(own)?.next().transpose()?;
        Ok(proc)
    }

    /// The process group of a living process.
    pub(crate) fn group_of(&self, number: Pid) -> Option<i32> {
        let stat = self.stat(number.as_raw_nonzero().get()).ok()??;
        Some(stat.group)
    }

    /// Whether a process has not executed a program since its fork. It must not have been reaped.
    pub(crate) fn is_without_exec(&self, number: Pid) -> bool {
        let stat = self.stat(number.as_raw_nonzero().get());
        // PF_FORKNOEXEC of include/linux/sched.h.
        stat.is_ok_and(|stat| stat.is_some_and(|stat| stat.flags & 0x40 != 0))
    }

    /// All processes. `root` is this process's number.
    ///
    /// Zombies are included: a process looks like one if its first thread has ended and another
    /// thread lives.
    pub(crate) fn children_by_parent(&self, root: i32) -> io::Result<Children> {
        let mut children = Children::default();
        for entry in Dir::read_from(&self.0)? {
            let Ok(entry) = entry else {
                children.is_cut = true;
                continue;
            };
            let name = entry.file_name().to_str();
            let Some(number) = name.ok().and_then(|name| name.parse().ok()) else {
                continue;
            };
            match self.stat(number) {
                Ok(Some(stat)) => children.of.entry(stat.parent).or_default().push(number),
                Ok(None) => {}
                Err(_) => children.is_cut = true,
            }
        }
        // A mount option may hide a process from the listing. The list of this process's children
        // still has it.
        let seen = children.of.entry(root).or_default();
        let known: BTreeSet<i32> = seen.iter().copied().collect();
        let own = self.own_children(root).into_iter();
        seen.extend(own.filter(|number| !known.contains(number)));
        Ok(children)
    }

    /// The children of this process, the oldest first. Empty if the kernel has no such file.
    pub(crate) fn own_children(&self, root: i32) -> Vec<i32> {
        let text = self.text(&format!("self/task/{root}/children"));
        let text = text.ok().flatten().unwrap_or_default();
        let numbers = text.split(|byte| *byte == b' ');
        numbers
            .filter_map(|number| std::str::from_utf8(number).ok()?.parse().ok())
            .collect()
    }

    /// `None` if there is no such line.
    pub(crate) fn stat(&self, number: i32) -> Result<Option<Stat>, Unread> {
        let text = self.text(&format!("{number}/stat"))?;
        Ok(text.and_then(|text| parse(&text)))
    }

    fn text(&self, path: &str) -> Result<Option<Vec<u8>>, Unread> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.0, path, flags, Mode::empty()) {
            Ok(file) => {
                let mut text = Vec::new();
                match File::from(file).read_to_end(&mut text) {
                    Ok(_) => Ok(Some(text)),
                    // The process was reaped since.
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
                    Err(_) => Err(Unread::Failed),
                }
            }
            Err(Errno::MFILE | Errno::NFILE) => Err(Unread::OutOfDescriptors),
            // There is none, or it is hidden.
            Err(Errno::NOENT | Errno::SRCH | Errno::ACCESS | Errno::PERM) => Ok(None),
            Err(_) => Err(Unread::Failed),
        }
    }
}

/// [proc_pid_stat(5)](https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html)
fn parse(line: &[u8]) -> Option<Stat> {
    Some(Stat {
        parent: proc_stat_field(line, 4)?.parse().ok()?,
        group: proc_stat_field(line, 5)?.parse().ok()?,
        flags: proc_stat_field(line, 9)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_of_a_process_with_any_name_is_read() {
        for name in ["sleep", "a b", ") 1 (", "\n"] {
            let line = format!("7 ({name}) S 3 5 5 0 -1 4194304");
            let stat = parse(line.as_bytes()).expect("a line");
            assert_eq!((stat.parent, stat.group), (3, 5));
            assert_eq!(stat.flags, 4_194_304);
        }
        for line in ["", "7 (x)", "7 (x) S", "7 (x) S a 5"] {
            assert_eq!(parse(line.as_bytes()), None, "{line:?}");
        }
    }
}
