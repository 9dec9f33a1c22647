//! Everything that descends from this process, found in /proc and signalled by pidfd.
//!
//! A number that was read in /proc may be a stranger's by the time it is opened. So a process is signalled only once it
//! is proven: a pidfd of it is open, and its line in /proc, read afterwards, names a parent that is proven and alive.
//! This process is proven to begin with. It is the parent of the orphans too, as it is a subreaper: a process whose
//! parent ends during the walk is found all the same. One that is missed because it moved elsewhere is found by the
//! next sweep.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

use pidfd_watcher::{Error, Process};
use rustix::fs::{Dir, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use crate::sys;

/// /proc, held open: COMMAND may mount something over it, or take it away.
#[derive(Debug)]
pub(crate) struct Proc(OwnedFd);

/// A line of /proc/PID/stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    parent: i32,
    group: i32,
    flags: u32,
}

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// Living descendants that were to be signalled.
    pub(crate) found: u32,
    /// Of those, the ones that may not be signalled (`EPERM`).
    pub(crate) refused: u32,
    /// There were not descriptors enough to find all before the first was signalled.
    pub(crate) crowded: bool,
}

/// Which descendants are meant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Of {
    All,
    /// This process group.
    Group(i32),
}

/// Sends `signals`, in this order, to the descendants of this process but those; each is told to `signalled` by its
/// number.
///
/// All are found before the first is signalled: a process that ends at once gives its children to the subreaper nearest
/// to it, which may be one that is looked at already.
///
/// An error where /proc cannot be read.
pub(crate) fn signal_descendants(
    proc: &Proc,
    signals: &[Signal],
    of: Of,
    except: &HashSet<i32>,
    signalled: impl FnMut(i32),
) -> io::Result<Swept> {
    let root = sys::own_pid()?.as_raw_nonzero().get();
    let children = proc.snapshot(root)?;
    let mut sweep = Sweep {
        signals,
        found: Vec::new(),
        signalled,
        swept: Swept::default(),
    };
    let mut left: Vec<(i32, Option<Parent>)> = Vec::new();
    push(&mut left, &children, root, None);
    while let Some((number, parent)) = left.pop() {
        let prove = || proc.prove(number, root, parent.as_ref());
        let proven = prove().or_else(|Crowded| {
            sweep.send();
            sweep.swept.crowded = true;
            prove()
        });
        let Ok(Some((process, group))) = proven else {
            // It may have ended since, and its children be this process's own.
            push(&mut left, &children, number, None);
            continue;
        };
        push(&mut left, &children, number, Some(&process));
        let meant = !except.contains(&number)
            && match of {
                Of::All => true,
                Of::Group(meant) => group == Some(meant),
            };
        if meant {
            sweep.found.push((number, process));
        }
    }
    sweep.send();
    Ok(sweep.swept)
}

/// A proven parent, by its number in /proc.
struct Parent {
    number: i32,
    process: Process,
}

/// So often are the youngest children looked at, and so many of them.
const ROUNDS: usize = 16;
const YOUNGEST: usize = 32;

/// SIGKILL to the youngest children of this process, again and again while there are others; each is told to `signalled`
/// by its number. Whether there still were others at the end.
///
/// Who forks and ends, and whose child does the same, is gone before a walk through all processes comes to it. The child
/// is this process's own by then, and the last one in its list.
pub(crate) fn kill_youngest_children(proc: &Proc, mut signalled: impl FnMut(i32)) -> bool {
    let Ok(root) = sys::own_pid() else {
        return false;
    };
    let mut before = Vec::new();
    for _ in 0..ROUNDS {
        let mut now = proc.own_children(root.as_raw_nonzero().get());
        now.reverse();
        now.truncate(YOUNGEST);
        if now == before {
            return false;
        }
        for &number in &now {
            let child = sys::pid(number).and_then(|pid| Process::open(pid).ok());
            let child = child.filter(|child| matches!(sys::end_of_child(child.as_fd()), Ok(None)));
            if child.is_some_and(|child| child.send_signal(Signal::KILL).is_ok()) {
                signalled(number);
            }
        }
        before = now;
    }
    true
}

/// Those who were found and not signalled yet.
struct Sweep<'a, G> {
    signals: &'a [Signal],
    found: Vec<(i32, Process)>,
    signalled: G,
    swept: Swept,
}

impl<G: FnMut(i32)> Sweep<'_, G> {
    /// Signals them, and closes their pidfds.
    fn send(&mut self) {
        for (number, process) in self.found.drain(..) {
            let sent = self
                .signals
                .iter()
                .try_for_each(|signal| process.send_signal(*signal));
            match sent {
                Ok(()) => {
                    self.swept.found += 1;
                    (self.signalled)(number);
                }
                Err(Error::NotFound(_)) => {}
                Err(_) => {
                    self.swept.found += 1;
                    self.swept.refused += 1;
                }
            }
        }
    }
}

/// Adds the children that `number` had. `proven` is its process; `None` where this process alone can be their parent.
fn push(
    left: &mut Vec<(i32, Option<Parent>)>,
    children: &HashMap<i32, Vec<i32>>,
    number: i32,
    proven: Option<&Process>,
) {
    for &child in children.get(&number).into_iter().flatten() {
        let parent = proven.map(|process| Parent {
            number,
            process: process.clone(),
        });
        left.push((child, parent));
    }
}

/// No descriptor is free.
#[derive(Debug)]
struct Crowded;

impl Proc {
    /// An error where it is not there, cannot be read, or shows another PID namespace than this process's own.
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
        // The listing of any folder shows that listings are not refused; this one is short.
        let own = rustix::fs::openat(&proc.0, "self/task", flags, Mode::empty())?;
        Dir::new(own)?.next().transpose()?;
        Ok(proc)
    }

    /// The process group of a living process.
    pub(crate) fn group_of(&self, number: Pid) -> Option<i32> {
        let stat = self.read(number.as_raw_nonzero().get()).ok()??;
        Some(stat.group)
    }

    /// Whether a process that was not reaped has executed no program since its fork.
    pub(crate) fn is_without_exec(&self, number: Pid) -> bool {
        let stat = self.read(number.as_raw_nonzero().get());
        // PF_FORKNOEXEC of include/linux/sched.h.
        stat.is_ok_and(|stat| stat.is_some_and(|stat| stat.flags & 0x40 != 0))
    }

    /// The process with its group, if it lives and is a child of `parent` at this moment, or of this process, whose
    /// number is `root`.
    fn prove(
        &self,
        number: i32,
        root: i32,
        parent: Option<&Parent>,
    ) -> Result<Option<(Process, Option<i32>)>, Crowded> {
        let opened = match sys::pid(number).map(Process::open) {
            Some(Ok(opened)) => opened,
            Some(Err(Error::TooManyOpenFiles(_))) => return Err(Crowded),
            Some(Err(_)) | None => return Ok(None),
        };
        let lives = |process: &Process| matches!(process.try_wait(), Ok(None));
        let proven = match self.read(number)? {
            // A mount option may hide the line of a process that is not dumpable, or another user's.
            None => matches!(sys::end_of_child(opened.as_fd()), Ok(None)).then_some(None),
            // The order matters: both are looked at after the line was read. One that has not ended still has its number,
            // so that the line was its own, and the parent's number was the parent's.
            Some(stat) => {
                let is_parent =
                    |parent: &Parent| stat.parent == parent.number && lives(&parent.process);
                let is_child = stat.parent == root || parent.is_some_and(is_parent);
                (lives(&opened) && is_child).then_some(Some(stat.group))
            }
        };
        Ok(proven.map(|group| (opened, group)))
    }

    /// Every process there is, by its parent. Zombies too: a process whose first thread has ended looks like one and lives.
    fn snapshot(&self, root: i32) -> io::Result<HashMap<i32, Vec<i32>>> {
        let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
        for entry in Dir::read_from(&self.0)? {
            let Ok(entry) = entry else { continue };
            let name = entry.file_name().to_str();
            let Some(number) = name.ok().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if let Ok(Some(stat)) = self.read(number) {
                children.entry(stat.parent).or_default().push(number);
            }
        }
        // Those are in it who are hidden elsewhere.
        let seen = children.entry(root).or_default();
        let known: HashSet<i32> = seen.iter().copied().collect();
        let own = self.own_children(root).into_iter();
        seen.extend(own.filter(|number| !known.contains(number)));
        Ok(children)
    }

    /// The children of this process, the oldest first. None where the kernel has no such file.
    fn own_children(&self, root: i32) -> Vec<i32> {
        let text = self.text(&format!("self/task/{root}/children"));
        let text = text.ok().flatten().unwrap_or_default();
        let numbers = text.split(|byte| *byte == b' ');
        numbers
            .filter_map(|number| std::str::from_utf8(number).ok()?.parse().ok())
            .collect()
    }

    fn read(&self, number: i32) -> Result<Option<Stat>, Crowded> {
        let text = self.text(&format!("{number}/stat"))?;
        Ok(text.and_then(|text| parse(&text)))
    }

    fn text(&self, path: &str) -> Result<Option<Vec<u8>>, Crowded> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.0, path, flags, Mode::empty()) {
            Ok(file) => {
                let mut text = Vec::new();
                let read = File::from(file).read_to_end(&mut text);
                Ok(read.is_ok().then_some(text))
            }
            Err(Errno::MFILE | Errno::NFILE) => Err(Crowded),
            Err(_) => Ok(None),
        }
    }
}

/// [proc_pid_stat(5)](https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html)
fn parse(line: &[u8]) -> Option<Stat> {
    // The command's name may hold anything: the last bracket closes it.
    let name_ends = line.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(line.get(name_ends + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let _state = fields.next()?;
    Some(Stat {
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
        // Behind session, terminal and its foreground group.
        flags: fields.nth(3)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn child_whose_parent_in_the_walk_is_no_longer_its_parent_is_proven_if_it_came_to_this_process()
    {
        let mut command = std::process::Command::new("cat");
        command.stdin(std::process::Stdio::piped());
        let mut child = command.spawn().expect("run cat");
        let mut other = command.spawn().expect("run cat");
        let proc = Proc::open().expect("/proc");
        let root = i32::try_from(std::process::id()).expect("a pid");
        let numbers = [&child, &other].map(|child| i32::try_from(child.id()).expect("a pid"));
        let parent = Parent {
            number: numbers[1],
            process: Process::from_child(&mut other).expect("a pidfd"),
        };
        let try_to = |root, parent| {
            let proven = proc.prove(numbers[0], root, parent);
            proven.expect("descriptors are free").is_some()
        };
        let proven = [
            try_to(root, Some(&parent)),
            try_to(root, None),
            try_to(numbers[1], Some(&parent)),
            try_to(numbers[1], None),
        ];
        for child in [&mut child, &mut other] {
            drop(child.stdin.take());
            child.wait().expect("own child");
        }
        // The last two: with that number as its own, this process is no parent of the child.
        assert_eq!(proven, [true, true, false, false]);
    }

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
