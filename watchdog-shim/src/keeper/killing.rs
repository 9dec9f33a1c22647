//! The last phase: SIGKILL to all that is left, again and again.

use std::collections::BTreeSet;
use std::time::Duration;

use rustix::process::Pid;

use crate::instant::Instant;
use crate::ledger::Ledger;
use crate::tree::Tree;

/// The pause between two sweeps of SIGKILL: the first one, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_secs(1);

/// A process that still lives this long after the first SIGKILL is reported.
const REPORT_AFTER: Duration = Duration::from_secs(2);

/// How far the last phase has got.
#[derive(Debug)]
pub(crate) struct Killing {
    /// The processes that were killed here and not reaped since.
    ///
    /// Not a hash set: it would need random numbers, and std panics if a filter refuses them.
    killed: BTreeSet<i32>,
    /// When the first sweep was done.
    begun: Option<Instant>,
    next: Option<Instant>,
    pause: Duration,
    has_reported: bool,
    /// There may be children that every sweep is too slow for.
    has_moving_children: bool,
}

impl Default for Killing {
    fn default() -> Killing {
        Killing {
            killed: BTreeSet::new(),
            begun: None,
            next: None,
            pause: FIRST_PAUSE,
            has_reported: false,
            has_moving_children: false,
        }
    }
}

impl Killing {
    /// Does one sweep of SIGKILL, if one is due. Returns how many processes do not die, if this
    /// must be reported now.
    pub(super) fn sweep(&mut self, tree: &Tree, ledger: Ledger) -> Option<u32> {
        if self.next.is_some_and(|next| !next.remaining().is_zero()) {
            return None;
        }
        let began = Instant::now();
        let mut fresh = 0;
        let found = tree.kill(|number| fresh += u32::from(self.killed.insert(number)));
        ledger.add_killed(fresh);
        if fresh > 0 {
            self.pause = FIRST_PAUSE;
        }
        let is_due = self.note(began) >= REPORT_AFTER && !self.has_reported && found > 0;
        self.has_reported |= is_due;
        is_due.then_some(found)
    }

    /// Kills the children that a sweep was too slow for. It runs after each sweep, and again while
    /// new children appear.
    pub(super) fn catch(&mut self, tree: &Tree, ledger: Ledger) {
        if !self.has_moving_children {
            return;
        }
        let mut fresh = 0;
        let killed = &mut self.killed;
        self.has_moving_children =
            tree.kill_youngest_children(|number| fresh += u32::from(killed.insert(number)));
        ledger.add_killed(fresh);
    }

    pub(super) fn until_next(&self) -> Duration {
        self.next.map_or(Duration::ZERO, Instant::remaining)
    }

    /// Returns whether a process that is about to be reaped was counted as killed. Its number is
    /// free after the reap.
    pub(super) fn forget(&mut self, pid: Pid) -> bool {
        self.killed.remove(&pid.as_raw_nonzero().get())
    }

    /// Notes that a sweep is done. Returns how long ago the first one was done.
    ///
    /// The pause is at least as long as the sweep took. A long sweep has killed many, and they
    /// should be reaped before the next one.
    fn note(&mut self, sweep_began: Instant) -> Duration {
        let now = Instant::now();
        let begun = *self.begun.get_or_insert(now);
        self.next = Some(now.after(self.pause.max(now.since(sweep_began))));
        self.pause = (self.pause * 2).min(LAST_PAUSE);
        self.has_moving_children = true;
        now.since(begun)
    }
}
