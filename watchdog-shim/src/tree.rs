//! COMMAND's tree, and how signals reach it.

use std::collections::BTreeSet;
use std::io;

use pidfd_watcher::Process;
use rustix::process::{Pid, Signal};

use crate::cgroup::Cgroup;
use crate::descendants::{self, Receivers, Swept};
use crate::options::SignalTo;
use crate::plan::Containment;
use crate::proc::Proc;
use crate::sys::NamespaceInit;

/// How often those are looked for again of whom a sweep could not find out what they are. They get
/// no stop signal otherwise, and are killed when the grace is over.
const TRIES: u32 = 3;

/// COMMAND, and what it has started.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) reach: Reach,
    /// COMMAND, until it was reaped.
    command: Option<Process>,
    /// `None` if there is none that shows this process's PID namespace.
    proc: Option<Proc>,
}

/// How the tree is reached.
#[derive(Debug)]
pub(crate) enum Reach {
    /// All descendants, found in /proc.
    Descendants,
    /// All processes of the PID namespace.
    Namespace(NamespaceInit),
    /// All members of the cgroup, and descendants that have left it.
    Cgroup(Cgroup),
    /// COMMAND alone.
    CommandAlone,
}

impl Tree {
    /// `init`: this process is pid 1 of the tree's namespace.
    pub(crate) fn new(
        containment: Containment,
        init: Option<NamespaceInit>,
        proc: Option<Proc>,
        command: Option<Process>,
    ) -> Tree {
        let reach = match (containment, init) {
            (Containment::None, _) => Reach::CommandAlone,
            (_, Some(init)) => Reach::Namespace(init),
            (Containment::Cgroup(cgroup), None) => Reach::Cgroup(cgroup),
            _ => Reach::Descendants,
        };
        Tree {
            reach,
            command,
            proc,
        }
    }

    /// COMMAND's number, until it was reaped.
    pub(crate) fn command(&self) -> Option<Pid> {
        self.command.as_ref().map(Process::pid)
    }

    /// COMMAND has ended, and is about to be reaped.
    pub(crate) fn forget_command(&mut self) {
        self.command = None;
    }

    /// The process group of a process that was not reaped. `None` without /proc.
    pub(crate) fn group_of(&self, pid: Pid) -> Option<i32> {
        self.proc.as_ref()?.group_of(pid)
    }

    pub(crate) fn signal_command(&self, signal: Signal) {
        if let Some(command) = &self.command {
            // It has ended, or is another user's: the report at the end says what is left.
            let _ = command.send_signal(signal);
        }
    }

    /// Sends `signals` once to each process that `to` names. `ended_group` is the group in which
    /// COMMAND ended.
    ///
    /// COMMAND comes first, before the others are looked for: how soon it learns does not depend on
    /// how many processes there are.
    pub(crate) fn signal(&self, signals: &[Signal], to: SignalTo, ended_group: Option<i32>) {
        let receivers = match to {
            SignalTo::Main => None,
            // Looked up before COMMAND is signalled: it may end at once.
            SignalTo::Group => self.command_group(ended_group).map(Receivers::Group),
            SignalTo::All => Some(Receivers::All),
        };
        if let (Reach::Namespace(init), Some(Receivers::All)) = (&self.reach, receivers) {
            // COMMAND is one of them.
            for signal in signals {
                let _ = init.signal_all_others(signal.as_raw());
            }
            return;
        }
        for signal in signals {
            self.signal_command(*signal);
        }
        match (&self.reach, receivers) {
            (Reach::CommandAlone, _) | (_, None) => {}
            (Reach::Cgroup(cgroup), Some(Receivers::All)) => {
                for signal in signals {
                    cgroup.signal(*signal, self.command());
                }
            }
            (_, Some(receivers)) => self.signal_others_once(signals, receivers),
        }
    }

    /// COMMAND's process group. If COMMAND has ended, the group that it was in.
    ///
    /// That number may be another group's by now. Only descendants are looked at, so that it can
    /// only be another group of the tree.
    fn command_group(&self, ended_group: Option<i32>) -> Option<i32> {
        match self.command() {
            // Not reaped yet: the number is its own.
            Some(command) => self.group_of(command),
            None => ended_group,
        }
    }

    fn signal_others_once(&self, signals: &[Signal], receivers: Receivers) {
        let mut done: BTreeSet<i32> = self
            .command()
            .map(|pid| pid.as_raw_nonzero().get())
            .into_iter()
            .collect();
        let mut tries = TRIES;
        // If descriptors are few, some have moved to another parent before they were found.
        loop {
            let mut fresh = Vec::new();
            let swept = self.sweep(signals, receivers, &done, |number| fresh.push(number));
            match swept {
                Ok(swept) if swept.ran_out_of_descriptors && !fresh.is_empty() => {
                    done.extend(fresh);
                }
                Ok(Swept {
                    missed_some: true, ..
                })
                | Err(_)
                    if tries > 0 =>
                {
                    tries -= 1;
                    done.extend(fresh);
                }
                Ok(_) | Err(_) => break,
            }
        }
    }

    /// Sends SIGKILL to all that can be found. `killed` gets their numbers, except in a PID
    /// namespace and for COMMAND alone. How many lived; an estimate in a PID namespace.
    pub(crate) fn kill(&self, killed: impl FnMut(i32)) -> u32 {
        match &self.reach {
            Reach::CommandAlone => {
                self.signal_command(Signal::KILL);
                u32::from(self.command.is_some())
            }
            Reach::Namespace(init) => {
                let _ = init.signal_all_others(libc::SIGKILL);
                1
            }
            Reach::Cgroup(cgroup) => {
                cgroup.kill();
                self.kill_descendants(killed)
            }
            Reach::Descendants => self.kill_descendants(killed),
        }
    }

    fn kill_descendants(&self, killed: impl FnMut(i32)) -> u32 {
        let swept = self.sweep(&[Signal::KILL], Receivers::All, &BTreeSet::new(), killed);
        // COMMAND does not need to be found.
        self.signal_command(Signal::KILL);
        swept.map_or(1, |swept| swept.found)
    }

    /// Sends SIGKILL to children that a sweep came too late for. `killed` gets their numbers.
    /// Whether there may be more.
    pub(crate) fn kill_youngest_children(&self, killed: impl FnMut(i32)) -> bool {
        match (&self.reach, &self.proc) {
            (Reach::CommandAlone | Reach::Namespace(_), _) | (_, None) => false,
            (_, Some(proc)) => descendants::kill_youngest_children(proc, killed),
        }
    }

    fn sweep(
        &self,
        signals: &[Signal],
        receivers: Receivers,
        except: &BTreeSet<i32>,
        signalled: impl FnMut(i32),
    ) -> io::Result<Swept> {
        let proc = self.proc.as_ref().ok_or(io::ErrorKind::NotFound)?;
        descendants::signal_descendants(proc, signals, receivers, except, signalled)
    }

    /// Whether the cgroup has members. They need not be descendants: a process may be moved into
    /// it.
    pub(crate) fn has_members(&self) -> bool {
        match &self.reach {
            Reach::Cgroup(cgroup) => cgroup.is_populated(),
            _ => false,
        }
    }

    /// Removes what was made for the tree.
    pub(crate) fn clean_up(&self) {
        if let Reach::Cgroup(cgroup) = &self.reach {
            cgroup.remove();
        }
    }
}
