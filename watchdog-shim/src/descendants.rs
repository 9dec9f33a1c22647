//! Finds all descendants of this process in /proc, and signals them by pidfd.
//!
//! A pid that was read in /proc may belong to a stranger by the time it is opened. So a process is
//! signalled only if it is proven to be a descendant. A proof has two parts: its pidfd is open; and
//! its line in /proc, read after that, names a parent that is alive and proven itself. The first
//! proven parent is this process.
//!
//! This process is a subreaper, so it becomes the parent of orphans. A process whose parent ends
//! during the walk is still found, as a child of this process. If a process moved to another parent
//! and was missed, the next sweep finds it.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd;

use pidfd_watcher::{Error, Process};
use rustix::process::Signal;

use crate::proc::{Children, Proc, Unread};
use crate::sys;

/// What a sweep found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// How many living descendants were meant to get the signals.
    pub(crate) found: u32,
    /// Descriptors ran out: some were signalled before all were found.
    pub(crate) ran_out_of_descriptors: bool,
    /// Some processes could not be told apart from strangers. The next sweep may be able to.
    pub(crate) missed_some: bool,
}

/// Which descendants are meant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Receivers {
    All,
    /// This process group.
    Group(i32),
}

/// Sends `signals`, in this order, to the descendants of this process except those in `except`.
/// `signalled` gets the number of each.
///
/// All are found before the first is signalled. A process that ends at once gives its children to
/// the nearest subreaper, and the walk may be past that one already.
///
/// An error if /proc cannot be read.
pub(crate) fn signal_descendants(
    proc: &Proc,
    signals: &[Signal],
    receivers: Receivers,
    except: &BTreeSet<i32>,
    signalled: impl FnMut(i32),
) -> io::Result<Swept> {
    let root = sys::own_pid()?.as_raw_nonzero().get();
    let children = proc.children_by_parent(root)?;
    let mut sweep = Sweep {
        signals,
        found: Vec::new(),
        signalled,
        swept: Swept {
            missed_some: children.is_cut,
            ..Swept::default()
        },
    };
    let mut left: Vec<(i32, Option<Parent>)> = Vec::new();
    push(&mut left, &children, root, None);
    while let Some((number, parent)) = left.pop() {
        let prove = || prove(proc, number, root, parent.as_ref());
        let proven = match prove() {
            Err(Unread::OutOfDescriptors) => {
                sweep.send();
                sweep.swept.ran_out_of_descriptors = true;
                prove()
            }
            proven => proven,
        };
        sweep.swept.missed_some |= proven.is_err();
        let Ok(Some(Proven { process, group })) = proven else {
            // It may have ended by now. Then its children have become children of this process.
            push(&mut left, &children, number, None);
            continue;
        };
        push(&mut left, &children, number, Some(&process));
        let is_meant = !except.contains(&number)
            && match receivers {
                Receivers::All => true,
                Receivers::Group(meant) => group == Some(meant),
            };
        if is_meant {
            sweep.found.push((number, process));
        }
    }
    sweep.send();
    Ok(sweep.swept)
}

/// How many rounds to look at the youngest children, and how many of them in each round.
const ROUNDS: usize = 16;
const YOUNGEST: usize = 32;

/// Sends SIGKILL to the youngest children of this process, again and again while new ones appear.
/// `signalled` gets the number of each. Returns whether new ones still appeared in the last round.
///
/// Some processes fork and end at once, and their children do the same. A walk through all
/// processes is too slow for them. But each orphan becomes a child of this process, as the last one
/// in its list of children.
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
            if kill_child(number) {
                signalled(number);
            }
        }
        before = now;
    }
    true
}

/// Sends SIGKILL to the process with this number, if it is a child of this process and lives. By
/// the time it is opened, the number may be a stranger's.
fn kill_child(number: i32) -> bool {
    let child = sys::pid(number).and_then(|pid| Process::open(pid).ok());
    let child = child.filter(|child| matches!(sys::end_of_child(child.as_fd()), Ok(None)));
    child.is_some_and(|child| child.send_signal(Signal::KILL).is_ok())
}

/// The descendants that were found and have not been signalled yet.
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
                // It may not be signalled, for example because it belongs to another user.
                Err(_) => self.swept.found += 1,
            }
        }
    }
}

/// A proven parent, by its number in /proc.
struct Parent {
    number: i32,
    process: Process,
}

/// Adds the children that process `number` had. `proven` is that process. If it is `None`, a child
/// can be proven only as a child of this process.
fn push(
    left: &mut Vec<(i32, Option<Parent>)>,
    children: &Children,
    number: i32,
    proven: Option<&Process>,
) {
    for &child in children.of.get(&number).into_iter().flatten() {
        let parent = proven.map(|process| Parent {
            number,
            process: process.clone(),
        });
        left.push((child, parent));
    }
}

/// A descendant.
struct Proven {
    process: Process,
    /// `None` if /proc does not show it.
    group: Option<i32>,
}

/// The process, if it lives and at this moment is a child of `parent` or of this process, whose
/// number is `root`.
fn prove(
    proc: &Proc,
    number: i32,
    root: i32,
    parent: Option<&Parent>,
) -> Result<Option<Proven>, Unread> {
    let process = match sys::pid(number).map(Process::open) {
        Some(Ok(process)) => process,
        Some(Err(Error::TooManyOpenFiles(_))) => return Err(Unread::OutOfDescriptors),
        Some(Err(Error::NotFound(_))) | None => return Ok(None),
        Some(Err(_)) => return Err(Unread::Failed),
    };
    let lives = |process: &Process| match process.try_wait() {
        Ok(exit) => Ok(exit.is_none()),
        Err(_) => Err(Unread::Failed),
    };
    // The parent may end after the line was read. By then the kernel has given the process to
    // another parent, and the second line names that one.
    for _ in 0..2 {
        let Some(stat) = proc.stat(number)? else {
            // A mount option may hide the line of a process that is not dumpable or belongs to
            // another user.
            let is_child = matches!(sys::end_of_child(process.as_fd()), Ok(None));
            return Ok(is_child.then_some(Proven {
                process,
                group: None,
            }));
        };
        // The order matters: read the line first, then check that both processes live. A process
        // that has not ended still has its number. So the line was this process's line, and the
        // number in it was the parent's number.
        let is_child = match parent {
            _ if stat.parent == root => true,
            Some(parent) if stat.parent == parent.number => lives(&parent.process)?,
            _ => false,
        };
        if !lives(&process)? {
            return Ok(None);
        }
        if is_child {
            let group = Some(stat.group);
            return Ok(Some(Proven { process, group }));
        }
    }
    Ok(None)
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
            let proven = prove(&proc, numbers[0], root, parent);
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
        // The last two are false: with that number as its own, this process is not the child's
        // parent.
        assert_eq!(proven, [true, true, false, false]);
    }

    fn cat() -> std::process::Child {
        let mut command = std::process::Command::new("cat");
        command.stdin(std::process::Stdio::piped());
        command.spawn().expect("run cat")
    }

    /// The line that was read may be about the next process with that number, if the process has
    /// ended. The parent's number may belong to another one, if the parent has ended.
    #[test]
    fn child_that_has_ended_or_whose_parent_has_ended_is_not_proven() {
        let mut children = [cat(), cat()];
        let proc = Proc::open().expect("/proc");
        let own = i32::try_from(std::process::id()).expect("a pid");
        let [number, ended] = children.each_ref().map(|child| child.id().cast_signed());
        children[1].kill().expect("own child");
        let zombie = Process::from_child(&mut children[1]).expect("a pidfd");
        zombie.wait().expect("poll");
        // The number of the parent is right each time; who had it when it was read may not be.
        let parent = |process: &Process| Parent {
            number: own,
            process: process.clone(),
        };
        let this = Process::open(rustix::process::getpid()).expect("a pidfd");
        let nobody = i32::MAX;
        let proven = [
            (number, own, None),
            (number, nobody, Some(parent(&this))),
            (number, nobody, Some(parent(&zombie))),
            (ended, own, None),
        ]
        .map(|(number, root, parent)| {
            let proven = prove(&proc, number, root, parent.as_ref());
            proven.expect("descriptors are free").is_some()
        });
        for child in &mut children {
            drop(child.stdin.take());
            child.wait().expect("own child");
        }
        assert_eq!(proven, [true, true, false, false]);
    }

    #[test]
    fn process_that_is_no_child_of_this_one_is_not_killed_among_the_youngest_children() {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "sleep 1000 & echo $!; exec cat >&2"]);
        command.stdin(std::process::Stdio::piped());
        command.stdout(std::process::Stdio::piped());
        let mut child = command.spawn().expect("run sh");
        let mut line = String::new();
        let said = child.stdout.take().expect("piped");
        let mut said = std::io::BufReader::new(said);
        std::io::BufRead::read_line(&mut said, &mut line).expect("a line");
        let stranger: i32 = line.trim().parse().expect("a pid");
        let process = Process::open(sys::pid(stranger).expect("a pid")).expect("a pidfd");
        let own = Process::from_child(&mut child).expect("a pidfd");

        let killed = [stranger, child.id().cast_signed()].map(kill_child);
        own.wait().expect("poll");
        let lives = matches!(process.try_wait(), Ok(None));
        // A zombie is not killed once more.
        let again = kill_child(child.id().cast_signed());
        drop(child.stdin.take());
        child.wait().expect("own child");
        process.send_signal(Signal::KILL).expect("it lives");
        process.wait().expect("poll");
        assert_eq!((killed, lives, again), ([false, true], true, false));
    }
}
