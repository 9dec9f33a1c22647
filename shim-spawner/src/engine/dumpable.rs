//! Whether this process can be dumped and traced, which a child that shares its memory changes.
//!
//! The kernel takes the flag off the *memory* of a process that changes its user or group
//! (`commit_creds` in kernel/cred.c), and that memory is this process's too. That is good while the
//! child has it: otherwise anybody of the new user could trace the child, and read and write what
//! is here. After the exec the flag has to be put back. Else this process would leave no core dump,
//! and its files in /proc would be root's.
//!
//! Several threads may spawn at the same time. The first one looks, and the last one puts it back,
//! when no child has the memory any more.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};
use rustix::thread::sched_yield;

use crate::sys;

static STATE: AtomicU64 = AtomicU64::new(0);

/// How often a thread gives way to the one that puts the flag back, which takes one system call. A
/// copy that was forked in the middle of that would wait for ever.
const TURNS: usize = 10_000;

/// In one word, so that it changes at once and without a lock: a copy made by fork has it as it
/// was, and nobody there who would open a lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    /// Whose state it is: a copy of this process begins anew.
    pid: u64,
    /// Counts the times at which somebody was the first.
    turn: u64,
    /// Whether the flag was set.
    dumpable: bool,
    /// Whether somebody is putting it back.
    restoring: bool,
    /// How many children may have the memory.
    held: u64,
}

/// `PID_MAX_LIMIT` is 2^22.
const PID_BITS: u32 = 22;
const COUNT_BITS: u32 = 20;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

impl State {
    fn pack(self) -> u64 {
        let flags = u64::from(self.dumpable) << 1 | u64::from(self.restoring);
        let counts = (self.turn & COUNT) << COUNT_BITS | self.held & COUNT;
        (self.pid << 2 | flags) << (2 * COUNT_BITS) | counts
    }

    fn unpack(word: u64) -> State {
        let above = word >> (2 * COUNT_BITS);
        State {
            pid: above >> 2 & ((1 << PID_BITS) - 1),
            turn: word >> COUNT_BITS & COUNT,
            dumpable: above & 2 != 0,
            restoring: above & 1 != 0,
            held: word & COUNT,
        }
    }
}

/// As long as a child may have this process's memory and other credentials.
pub(super) struct KeptDumpable(());

impl KeptDumpable {
    pub(super) fn hold() -> KeptDumpable {
        let pid = sys::own_pid().map_or(0, |pid| pid.as_raw_nonzero().get().unsigned_abs());
        let pid = u64::from(pid);
        let mut turns = 0;
        loop {
            let word = STATE.load(Ordering::Acquire);
            let mut state = State::unpack(word);
            if state.pid != pid {
                let turn = state.turn;
                state = State {
                    pid,
                    turn,
                    ..State::default()
                };
            }
            if state.restoring && turns < TURNS {
                turns += 1;
                sched_yield();
                continue;
            }
            state.restoring = false;
            if state.held == 0 {
                // If somebody else is the first meanwhile, the turn is another one.
                state.dumpable = dumpable_behavior() == Ok(DumpableBehavior::Dumpable);
                state.turn += 1;
            }
            state.held += 1;
            if replace(word, state) {
                return KeptDumpable(());
            }
        }
    }
}

impl Drop for KeptDumpable {
    fn drop(&mut self) {
        loop {
            let word = STATE.load(Ordering::Acquire);
            let mut state = State::unpack(word);
            state.held = state.held.saturating_sub(1);
            state.restoring = state.held == 0 && state.dumpable;
            if !replace(word, state) {
                continue;
            }
            if state.restoring {
                // It was allowed to be set, and is this process's own. A filter may refuse it.
                let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
                state.restoring = false;
                // Nobody changes it while it says that it is being put back.
                STATE.store(state.pack(), Ordering::Release);
            }
            return;
        }
    }
}

/// Whether `state` took the place of `word`.
fn replace(word: u64, state: State) -> bool {
    let done = STATE.compare_exchange(word, state.pack(), Ordering::AcqRel, Ordering::Relaxed);
    done.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_fits_into_its_word() {
        let state = State {
            pid: (1 << PID_BITS) - 1,
            turn: COUNT,
            dumpable: true,
            restoring: true,
            held: COUNT - 1,
        };
        assert_eq!(State::unpack(state.pack()), state);
        let state = State {
            pid: 1,
            held: 1,
            ..State::default()
        };
        assert_eq!(State::unpack(state.pack()), state);
    }
}
