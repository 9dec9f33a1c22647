//! Reaps children of the keeper, and notes which were stopped or continued.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use crate::control::Message;
use crate::keeper::{Keeper, Left};
use crate::ledger::Phase;
use crate::options::Session;
use crate::status::Event;
use crate::sys;
use crate::tree::Reach;

/// How many children are reaped before the clock is checked. A fork storm must not delay the
/// deadline.
const REAPED_AT_ONCE: usize = 256;

impl Keeper<'_> {
    /// Reaps the children that have ended. It does not count SIGCHLD: one signal may stand for
    /// several children.
    pub(super) fn reap(&mut self) -> Left {
        for _ in 0..REAPED_AT_ONCE {
            let change = match sys::peek_state_change() {
                Ok(Some(change)) => change,
                // Asked twice: it is what ends the shim.
                Err(Errno::CHILD) => match sys::peek_state_change() {
                    Err(Errno::CHILD) => return Left::Nobody,
                    _ => continue,
                },
                Err(Errno::INTR) => continue,
                Ok(None) | Err(_) => return Left::Living,
            };
            let is_command = self.tree.command() == Some(change.pid);
            let taken = match change.ended {
                Some(status) => {
                    if is_command {
                        self.note_end_of_command(change.pid, status);
                    }
                    self.count_killed(change.pid, status, is_command);
                    sys::reap(change.pid)
                }
                None => sys::take_stop(change.pid).map(|is_stopped| {
                    if let (true, Some(is_stopped)) = (is_command, is_stopped) {
                        self.note_stop_of_command(is_stopped);
                    }
                }),
            };
            // Nobody else takes the change. If it is gone nevertheless, this must not loop.
            if taken.is_err() {
                return Left::Living;
            }
        }
        Left::More
    }

    /// COMMAND has ended and still has its number. Its end is written down before the reap: after
    /// that, a process that takes over could mistake a stranger for COMMAND.
    fn note_end_of_command(&mut self, pid: Pid, status: ExitStatus) {
        if let Some(group) = self.tree.group_of(pid) {
            self.ledger.set_group(group);
        }
        self.ledger.set_status(status);
        self.tree.forget_command();
        self.command_is_stopped = false;
        self.status.report(Event::Exited { status });
    }

    /// Counts a process of the tree that was killed, unless a sweep has counted it already.
    fn count_killed(&mut self, pid: Pid, status: ExitStatus, is_command: bool) {
        let was_counted = self.killing.forget(pid);
        let is_ours = is_command || !matches!(self.tree.reach, Reach::CommandAlone);
        let was_killed = status.signal() == Some(Signal::KILL.as_raw());
        if was_killed && is_ours && !was_counted && self.ledger.phase() == Phase::Killing {
            self.ledger.add_killed(1);
        }
    }

    /// COMMAND was stopped or continued.
    fn note_stop_of_command(&mut self, is_stopped: bool) {
        self.command_is_stopped = is_stopped;
        if is_stopped
            && self.role.session == Session::Keep
            && let Some(control) = &self.control
        {
            control.send(Message::Stopped);
        }
    }
}
