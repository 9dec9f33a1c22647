//! What all processes of the shim know of the tree: one shared page.
//!
//! Whoever is in charge writes it. Whoever takes over, because that one was killed, goes on from it; and OUTER reads there
//! how COMMAND ended.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal};

/// How far the tree has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// COMMAND was not executed yet.
    Starting,
    Running,
    /// The stop signal was sent; the grace period runs.
    Stopping,
    /// SIGKILL to all that is left, again and again.
    Killing,
    /// Nothing is left, or what is left is meant to live on.
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

/// All zeros is its first state.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Ledger {
    phase: AtomicU32,
    /// The pid of COMMAND as its parent sees it; 0 before it exists.
    command: AtomicI32,
    /// How COMMAND ended: [`KNOWN`] and the wait status.
    status: AtomicU64,
    /// When the grace period ends, in nanoseconds of the monotonic clock; 0 before it began.
    deadline: AtomicU64,
    /// How many were killed by SIGKILL.
    killed: AtomicU32,
    /// The exit code of a shim that could not start COMMAND; 0: it could.
    refusal: AtomicU32,
    /// The first step of a stop; 0 before it is known.
    stop_signal: AtomicI32,
    /// How long the stop may take, in nanoseconds and one; 0 before it is known.
    grace: AtomicU64,
}

const KNOWN: u64 = 1 << 32;

// Orderings: each field stands by itself, and is written by the one process that is in charge. Another reads it after the
// kernel has told it that this process is gone, or that the line to it was closed, which orders the accesses. Acquire and
// Release cost nothing here and say so.
impl Ledger {
    pub(crate) fn phase(&self) -> Phase {
        let number = self.phase.load(Ordering::Acquire);
        let known = Phase::ALL.into_iter().find(|phase| *phase as u32 == number);
        // Nobody writes anything else.
        known.unwrap_or(Phase::Killing)
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u32, Ordering::Release);
    }

    pub(crate) fn command(&self) -> Option<Pid> {
        crate::sys::pid(self.command.load(Ordering::Acquire))
    }

    pub(crate) fn set_command(&self, pid: Pid) {
        self.command
            .store(pid.as_raw_nonzero().get(), Ordering::Release);
    }

    pub(crate) fn status(&self) -> Option<ExitStatus> {
        let word = self.status.load(Ordering::Acquire);
        // The low half is the wait status; the cast takes exactly that.
        #[allow(clippy::cast_possible_truncation)]
        let raw = (word as u32).cast_signed();
        (word & KNOWN != 0).then(|| ExitStatus::from_raw(raw))
    }

    pub(crate) fn set_status(&self, status: ExitStatus) {
        let word = KNOWN | u64::from(status.into_raw().cast_unsigned());
        self.status.store(word, Ordering::Release);
    }

    /// The end of the grace period, if one has begun.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.deadline.load(Ordering::Acquire) {
            0 => None,
            nanoseconds => Some(Instant(nanoseconds)),
        }
    }

    pub(crate) fn set_deadline(&self, at: Instant) {
        self.deadline.store(at.0.max(1), Ordering::Release);
    }

    pub(crate) fn killed(&self) -> u32 {
        self.killed.load(Ordering::Acquire)
    }

    pub(crate) fn add_killed(&self, count: u32) {
        self.killed.fetch_add(count, Ordering::AcqRel);
    }

    pub(crate) fn refusal(&self) -> Option<u8> {
        match self.refusal.load(Ordering::Acquire) {
            0 => None,
            code => u8::try_from(code).ok(),
        }
    }

    /// How the tree is stopped. Who takes over has no watch that could tell.
    pub(crate) fn policy(&self) -> Option<(Signal, Duration)> {
        let signal = crate::sys::signal(self.stop_signal.load(Ordering::Acquire))?;
        let grace = self.grace.load(Ordering::Acquire).checked_sub(1)?;
        Some((signal, Duration::from_nanos(grace)))
    }

    pub(crate) fn set_policy(&self, signal: Signal, grace: Duration) {
        let nanoseconds = u64::try_from(grace.as_nanos()).unwrap_or(u64::MAX);
        self.stop_signal.store(signal.as_raw(), Ordering::Release);
        self.grace
            .store(nanoseconds.saturating_add(1), Ordering::Release);
    }

    pub(crate) fn set_refusal(&self, code: u8) {
        self.refusal.store(code.into(), Ordering::Release);
    }
}

/// An instant of the monotonic clock that means the same in every process of the shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(u64);

impl Instant {
    /// The shim has read the clock before it started anything, and no filter comes later: it would be the shim's own.
    /// Should the clock fail all the same, it stands still at the far end: a deadline has passed.
    pub(crate) fn now() -> Instant {
        Instant(crate::sys::monotonic_nanoseconds().unwrap_or(u64::MAX))
    }

    pub(crate) fn after(self, duration: Duration) -> Instant {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_add(nanoseconds))
    }

    /// How long ago an earlier one was.
    pub(crate) fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// How long it is until then; zero once it has passed.
    pub(crate) fn remaining(self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(Instant::now().0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> Ledger {
        Ledger {
            phase: AtomicU32::new(0),
            command: AtomicI32::new(0),
            status: AtomicU64::new(0),
            deadline: AtomicU64::new(0),
            killed: AtomicU32::new(0),
            refusal: AtomicU32::new(0),
            stop_signal: AtomicI32::new(0),
            grace: AtomicU64::new(0),
        }
    }

    #[test]
    fn fresh_ledger_says_that_nothing_has_started() {
        let ledger = fresh();
        assert_eq!(ledger.phase(), Phase::Starting);
        assert_eq!(ledger.command(), None);
        assert_eq!(ledger.status(), None);
        assert_eq!(ledger.deadline(), None);
        assert_eq!(ledger.refusal(), None);
        assert_eq!(ledger.policy(), None);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let ledger = fresh();
        for phase in Phase::ALL {
            ledger.set_phase(phase);
            assert_eq!(ledger.phase(), phase);
        }
        for raw in [0, 9, 0x100, 0xff00] {
            ledger.set_status(ExitStatus::from_raw(raw));
            assert_eq!(ledger.status(), Some(ExitStatus::from_raw(raw)));
        }
        ledger.set_refusal(125);
        assert_eq!(ledger.refusal(), Some(125));
        for grace in [Duration::ZERO, Duration::from_millis(300)] {
            ledger.set_policy(Signal::INT, grace);
            assert_eq!(ledger.policy(), Some((Signal::INT, grace)));
        }
    }
}
