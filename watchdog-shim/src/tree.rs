//! Everything that descends from this process, found in /proc and signalled by pidfd.
//!
//! A number that was read in /proc may be a stranger's by the time it is opened. So a process is signalled only once it
//! is proven: its parent is proven (this process is, to begin with), a pidfd of it is open, and its line in /proc, read
//! afterwards, names that parent, which is alive still. A process that is missed because it moved meanwhile is found by
//! the next sweep: orphans of a subreaper come to it, and are its own children then.

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
/// `first` runs when all are found and none was signalled.
///
/// All are found before the first is signalled: one that ends at once leaves its children to another parent, and a walk
/// that had not come to them yet would miss them.
///
/// An error where /proc cannot be read, or shows another PID namespace than this process's own. `first` did not run then.
pub(crate) fn signal_descendants(
    signals: &[Signal],
    of: Of,
    except: Option<Pid>,
    first: impl FnOnce(),
    signalled: impl FnMut(i32),
) -> io::Result<Swept> {
    let root = own_number_in_proc()?;
    let children = snapshot()?;
    let mut sweep = Sweep {
        signals,
        found: Vec::new(),
        first: Some(first),
        signalled,
        swept: Swept::default(),
    };
    // Each with its parent, which is this process where there is none.
    let mut left: Vec<(i32, i32, Option<Process>)> = Vec::new();
    push(&mut left, &children, root, None);
    while let Some((number, parent_number, parent)) = left.pop() {
        let Some((process, stat)) = prove(number, parent_number, parent.as_ref(), || sweep.send())
        else {
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

/// Those who were found and not signalled yet.
struct Sweep<'a, F, G> {
    signals: &'a [Signal],
    found: Vec<(i32, Process)>,
    first: Option<F>,
    signalled: G,
    swept: Swept,
}

impl<F: FnOnce(), G: FnMut(i32)> Sweep<'_, F, G> {
    /// Signals them, and closes their pidfds.
    fn send(&mut self) {
        if let Some(first) = self.first.take() {
            first();
        }
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

fn push(
    left: &mut Vec<(i32, i32, Option<Process>)>,
    children: &HashMap<i32, Vec<i32>>,
    parent: i32,
    process: Option<&Process>,
) {
    for &child in children.get(&parent).into_iter().flatten() {
        left.push((child, parent, process.cloned()));
    }
}

/// The process, if it is a child of that parent at this moment and lives. `make_room` closes what pidfds it can.
fn prove(
    number: i32,
    parent: i32,
    process: Option<&Process>,
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
    let proven = stat.parent == parent && lives(&opened) && process.is_none_or(lives);
    proven.then_some((opened, stat))
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
