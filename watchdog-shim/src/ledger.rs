//! The ledger: what is known about the tree, in a page that all processes of the shim share.
//!
//! The process in charge writes it. If that process is killed, the next one takes over from what it
//! reads here. OUTER reads here how COMMAND ended.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::Pid;

use crate::instant::Instant;
use crate::policy::Policy;
use crate::sys;

/// How far the life of the tree has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// COMMAND has not been executed yet.
    Starting,
    Running,
    /// The stop signal was sent; the grace period runs.
    Stopping,
    /// All that is left gets SIGKILL, again and again.
    Killing,
    /// Nothing is left, or what is left may live on.
    Done,
}

impl Phase {
    const ALL: [Phase; 5] = [
        Phase::Starting,
        Phase::Running,
        Phase::Stopping,
        Phase::Killing,
        Phase::Done,
    ];
}

/// Each field is one word. A new ledger is all zeros.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ledger {
    phase: &'static AtomicU64,
    /// COMMAND's pid in its parent's PID namespace; 0 before COMMAND exists.
    command: &'static AtomicU64,
    /// How COMMAND ended: [`ENDED`] and the wait status.
    status: &'static AtomicU64,
    /// The process group in which COMMAND ended; 0 before that.
    group: &'static AtomicU64,
    /// The stop signal; 0 while the default holds.
    stop_signal: &'static AtomicU64,
    /// The grace period in nanoseconds, plus one; 0 while the default holds.
    grace: &'static AtomicU64,
    /// When the grace period ends, in nanoseconds of the monotonic clock; 0 before it began.
    deadline: &'static AtomicU64,
    /// How many processes SIGKILL has killed.
    killed: &'static AtomicU64,
    /// The shim's exit code if it could not start COMMAND; 0 if it could.
    refusal: &'static AtomicU64,
}

const ENDED: u64 = 1 << 32;

// Orderings: no field says anything about another field. Only the process in charge writes them.
// Another process reads them after the kernel has told it that the writer has ended, or has closed
// its end of the control socket; that orders the accesses. `command` is the exception: COMMAND's
// process writes it before its exec, and INNER continues only after that exec. A process that takes
// over before the exec may still read 0. Acquire and Release cost nothing here.
impl Ledger {
    /// Makes a ledger in memory that this process shares with every process that it forks.
    pub(crate) fn shared() -> io::Result<Ledger> {
        let [
            phase,
            command,
            status,
            group,
            stop_signal,
            grace,
            deadline,
            killed,
            refusal,
        ] = sys::shared_words()?;
        Ok(Ledger {
            phase,
            command,
            status,
            group,
            stop_signal,
            grace,
            deadline,
            killed,
            refusal,
        })
    }

    pub(crate) fn phase(&self) -> Phase {
        let number = self.phase.load(Ordering::Acquire);
        let known = Phase::ALL.into_iter().find(|phase| *phase as u64 == number);
        // Nobody writes anything else, so this default is not used.
        known.unwrap_or(Phase::Killing)
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u64, Ordering::Release);
    }

    pub(crate) fn command(&self) -> Option<Pid> {
        sys::pid(number(self.command))
    }

    /// COMMAND's process writes it before it executes its program.
    pub(crate) fn set_command(&self, number: i32) {
        set_number(self.command, number);
    }

    pub(crate) fn status(&self) -> Option<ExitStatus> {
        let word = self.status.load(Ordering::Acquire);
        // The low half is the wait status, and the cast takes exactly that.
        #[allow(clippy::cast_possible_truncation)]
        let raw = (word as u32).cast_signed();
        (word & ENDED != 0).then(|| ExitStatus::from_raw(raw))
    }

    pub(crate) fn set_status(&self, status: ExitStatus) {
        let word = ENDED | u64::from(status.into_raw().cast_unsigned());
        self.status.store(word, Ordering::Release);
    }

    /// The process group in which COMMAND ended.
    pub(crate) fn group(&self) -> Option<i32> {
        match number(self.group) {
            0 => None,
            group => Some(group),
        }
    }

    pub(crate) fn set_group(&self, group: i32) {
        set_number(self.group, group);
    }

    /// How the tree is stopped.
    pub(crate) fn policy(&self) -> Policy {
        let default = Policy::default();
        let grace = self.grace.load(Ordering::Acquire).checked_sub(1);
        Policy {
            signal: sys::signal(number(self.stop_signal)).unwrap_or(default.signal),
            grace: grace.map_or(default.grace, Duration::from_nanos),
        }
    }

    pub(crate) fn set_policy(&self, policy: Policy) {
        set_number(self.stop_signal, policy.signal.as_raw());
        let grace = u64::try_from(policy.grace.as_nanos()).unwrap_or(u64::MAX);
        self.grace.store(grace.saturating_add(1), Ordering::Release);
    }

    /// The end of the grace period, if one has begun.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.deadline.load(Ordering::Acquire) {
            0 => None,
            nanoseconds => Some(Instant::from_nanoseconds(nanoseconds)),
        }
    }

    pub(crate) fn set_deadline(&self, at: Instant) {
        self.deadline
            .store(at.nanoseconds().max(1), Ordering::Release);
    }

    pub(crate) fn killed(&self) -> u64 {
        self.killed.load(Ordering::Acquire)
    }

    pub(crate) fn add_killed(&self, count: u32) {
        self.killed.fetch_add(count.into(), Ordering::AcqRel);
    }

    pub(crate) fn refusal(&self) -> Option<u8> {
        match self.refusal.load(Ordering::Acquire) {
            0 => None,
            code => u8::try_from(code).ok(),
        }
    }

    pub(crate) fn set_refusal(&self, code: u8) {
        self.refusal.store(code.into(), Ordering::Release);
    }
}

/// Reads a number that [`set_number`] wrote; 0 before.
fn number(word: &AtomicU64) -> i32 {
    i32::try_from(word.load(Ordering::Acquire)).unwrap_or(0)
}

/// Writes a pid, a group or a signal. None of them is negative.
fn set_number(word: &AtomicU64, number: i32) {
    word.store(u64::try_from(number).unwrap_or(0), Ordering::Release);
}

#[cfg(test)]
mod tests {
    use rustix::process::Signal;

    use super::*;

    #[test]
    fn fresh_ledger_says_that_nothing_has_started() {
        let ledger = Ledger::shared().expect("a shared page");
        assert_eq!(ledger.phase(), Phase::Starting);
        assert_eq!(ledger.command(), None);
        assert_eq!(ledger.status(), None);
        assert_eq!(ledger.group(), None);
        assert_eq!(ledger.policy(), Policy::default());
        assert_eq!(ledger.deadline(), None);
        assert_eq!(ledger.refusal(), None);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let ledger = Ledger::shared().expect("a shared page");
        for phase in Phase::ALL {
            ledger.set_phase(phase);
            assert_eq!(ledger.phase(), phase);
        }
        for raw in [0, 9, 0x100, 0xff00] {
            ledger.set_status(ExitStatus::from_raw(raw));
            assert_eq!(ledger.status(), Some(ExitStatus::from_raw(raw)));
        }
        for grace in [
            Duration::ZERO,
            Duration::from_nanos(1),
            Duration::from_secs(3600),
        ] {
            let policy = Policy {
                signal: Signal::INT,
                grace,
            };
            ledger.set_policy(policy);
            assert_eq!(ledger.policy(), policy);
        }
        ledger.set_group(7);
        assert_eq!(ledger.group(), Some(7));
        ledger.set_refusal(125);
        assert_eq!(ledger.refusal(), Some(125));
    }
}
