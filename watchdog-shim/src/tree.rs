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

/// How often the search is repeated if it could not tell what some processes are. A process that is
/// never told apart gets no stop signal, and is killed when the grace period is over.
const TRIES: u32 = 3;

/// COMMAND, and the processes that it has started.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) reach: Reach,
    /// COMMAND, until it was reaped.
    command: Option<Process>,
    /// `None` if no /proc shows this process's PID namespace.
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
    /// `init` is given if this process is pid 1 of the tree's namespace.
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

    /// Called when COMMAND has ended and is about to be reaped.
    pub(crate) fn forget_command(&mut self) {
        self.command = None;
    }

    /// The process group of a process that has not been reaped. `None` without /proc.
    pub(crate) fn group_of(&self, pid: Pid) -> Option<i32> {
        self.proc.as_ref()?.group_of(pid)
    }

    pub(crate) fn signal_command(&self, signal: Signal) {
        if let Some(command) = &self.command {
            // An error means that COMMAND has ended, or belongs to another user. The report at the
            // end says what is left.
            let _ = command.send_signal(signal);
        }
    }

    /// Sends `signals` once to each process that `to` names. `ended_group` is COMMAND's process
    /// group at its end.
    ///
    /// COMMAND is signalled first, before the others are searched for. So the time until COMMAND
    /// gets the signal does not depend on how many processes there are.
    pub(crate) fn signal(&self, signals: &[Signal], to: SignalTo, ended_group: Option<i32>) {
        let receivers = match to {
            SignalTo::Main => None,
            // Looked up before COMMAND is signalled, because it may end at once.
            SignalTo::Group => self.command_group(ended_group).map(Receivers::Group),
            SignalTo::All => Some(Receivers::All),
        };
        if let (Reach::Namespace(init), Some(Receivers::All)) = (&self.reach, receivers) {
            // COMMAND is one of these.
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
    /// That number may belong to another group by now. But only descendants are searched, so it can
    /// only be another group of the tree.
    fn command_group(&self, ended_group: Option<i32>) -> Option<i32> {
        match self.command() {
            // COMMAND has not been reaped, so the number is its own.
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
        // If descriptors ran out, some processes may have moved to another parent before they were
        // found.
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

    /// Sends SIGKILL to every process that can be found. Calls `killed` with their numbers, but not
    /// in a PID namespace and not for COMMAND alone. Returns how many lived; in a PID namespace an
    /// estimate.
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
        // COMMAND gets the signal even if the sweep did not find it.
        self.signal_command(Signal::KILL);
        swept.map_or(1, |swept| swept.found)
    }

    /// Sends SIGKILL to children that a sweep was too slow for, and calls `killed` with their
    /// numbers. Returns whether there may be more.
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

    /// Whether the cgroup has members. They need not be descendants: other processes can be moved
    /// into it.
    pub(crate) fn has_members(&self) -> bool {
        match &self.reach {
            Reach::Cgroup(cgroup) => cgroup.is_populated(),
            _ => false,
        }
    }

    /// Removes what was created for the tree.
    pub(crate) fn clean_up(&self) {
        if let Reach::Cgroup(cgroup) = &self.reach {
            cgroup.remove();
        }
    }
}
