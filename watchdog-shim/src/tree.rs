//! Everything that descends from this process, found in /proc and signalled by pidfd.
//!
//! A number that was read in /proc may be a stranger's by the time it is opened. So a process is signalled only once it
//! is proven: a pidfd of it is open, and its line in /proc, read afterwards, names a parent that is proven and alive.
//! This process is proven to begin with. It is the parent of the orphans too, as it is a subreaper: a process whose
//! parent ends during the walk is found all the same. One that is missed because it moved elsewhere is found by the
//! next sweep.

use std::collections::HashMap;
use std::fs;
use std::io;

use pidfd_watcher::{Error, Process};
use rustix::process::{Pid, Signal};

use crate::sys;

/// A line of /proc/PID/stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    parent: i32,
    pub(crate) group: i32,
}

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// Living descendants that were to be signalled.
    pub(crate) found: u32,
    /// Of those, the ones that may not be signalled (`EPERM`).
    pub(crate) refused: u32,
}

/// Which descendants are meant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Of {
    All,
    /// This process group.
    Group(i32),
}

/// Sends `signals`, in this order, to the descendants of this process but one; each is told to `signalled` by its number.
///
/// All are found before the first is signalled: a process that ends at once gives its children to the subreaper nearest
/// to it, which may be one that is looked at already.
///
/// An error where /proc cannot be read, or shows another PID namespace than this process's own.
pub(crate) fn signal_descendants(
    signals: &[Signal],
    of: Of,
    except: Option<Pid>,
    signalled: impl FnMut(i32),
) -> io::Result<Swept> {
    let root = own_number_in_proc()?;
    let children = snapshot()?;
    let mut sweep = Sweep {
        signals,
        found: Vec::new(),
        signalled,
        swept: Swept::default(),
    };
    let mut left: Vec<(i32, Option<Parent>)> = Vec::new();
    push(&mut left, &children, root, None);
    while let Some((number, parent)) = left.pop() {
        let Some((process, stat)) = prove(number, root, parent.as_ref(), || sweep.send()) else {
            // It may have ended since, and its children be this process's own.
            push(&mut left, &children, number, None);
            continue;
        };
        push(&mut left, &children, number, Some(&process));
        let meant = Some(process.pid()) != except
            && match of {
                Of::All => true,
                Of::Group(group) => stat.group == group,
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

/// Whether /proc is there and shows this process's own PID namespace.
pub(crate) fn is_visible() -> io::Result<()> {
    own_number_in_proc().map(drop)
}

/// The process group of a living process.
pub(crate) fn group_of(number: Pid) -> Option<i32> {
    read(number.as_raw_nonzero().get()).map(|stat| stat.group)
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

/// The process, if it lives and is a child of `parent` at this moment, or of this process, whose number is `root`.
/// `make_room` closes what pidfds it can.
fn prove(
    number: i32,
    root: i32,
    parent: Option<&Parent>,
    make_room: impl FnOnce(),
) -> Option<(Process, Stat)> {
    let pid = sys::pid(number)?;
    let opened = match Process::open(pid) {
        Err(Error::TooManyOpenFiles(_)) => {
            make_room();
            Process::open(pid)
        }
        opened => opened,
    };
    let opened = opened.ok()?;
    let stat = read(number)?;
    let lives = |process: &Process| matches!(process.try_wait(), Ok(None));
    // The order matters: both are looked at after the line was read. One that has not ended still has its number, so
    // that the line was its own, and the parent's number was the parent's.
    let is_child = lives(&opened)
        && (stat.parent == root
            || parent.is_some_and(|parent| stat.parent == parent.number && lives(&parent.process)));
    is_child.then_some((opened, stat))
}

/// Every process there is, by its parent. Zombies too: a process whose first thread has ended looks like one and lives.
fn snapshot() -> io::Result<HashMap<i32, Vec<i32>>> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        let name = entry.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(stat) = read(number) {
            children.entry(stat.parent).or_default().push(number);
        }
    }
    Ok(children)
}

fn read(number: i32) -> Option<Stat> {
    parse(&fs::read(format!("/proc/{number}/stat")).ok()?)
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
    })
}

fn own_number_in_proc() -> io::Result<i32> {
    let own = sys::own_pid()?.as_raw_nonzero().get();
    let shown = fs::read_link("/proc/self")?;
    if shown.as_os_str() == own.to_string().as_str() {
        return Ok(own);
    }
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "/proc shows another PID namespace",
    ))
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
        let root = own_number_in_proc().expect("/proc");
        let numbers = [&child, &other].map(|child| i32::try_from(child.id()).expect("a pid"));
        let parent = Parent {
            number: numbers[1],
            process: Process::from_child(&mut other).expect("a pidfd"),
        };
        let try_to = |root, parent| prove(numbers[0], root, parent, || ()).is_some();
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
        }
        for line in ["", "7 (x)", "7 (x) S", "7 (x) S a 5"] {
            assert_eq!(parse(line.as_bytes()), None, "{line:?}");
        }
    }
}
