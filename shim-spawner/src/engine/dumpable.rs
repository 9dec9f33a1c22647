//! Keeps this process's dumpable flag, which a child that shares its memory may clear.
//!
//! The kernel clears the flag of the *memory* of a process that changes its user or group
//! (`commit_creds` in kernel/cred.c), and this process has the same memory. That is good while the
//! child uses the memory: otherwise any process of the new user could trace the child, and read and
//! write our memory. After the exec the flag has to be set again. Otherwise this process would
//! leave no core dump, and root would own its files in /proc.
//!
//! Several threads may spawn at the same time. The first one reads the flag. The last one restores
//! it, when no child uses the memory any more.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};
use rustix::thread::sched_yield;

use crate::sys;

static STATE: AtomicU64 = AtomicU64::new(0);

/// How often a thread yields to the thread that restores the flag, which takes one system call. The
/// limit is for a copy that was forked in the middle of that, which would wait for ever.
const TURNS: usize = 10_000;

/// The state is one word, so that it changes at once and without a lock. A copy made by fork gets a
/// consistent word. A lock could stay locked there, because no thread of the copy would unlock it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    /// The process that the state belongs to. A copy of this process starts with a new state.
    pid: u64,
    /// How often a thread was the first.
    turn: u64,
    /// Whether the flag was set.
    dumpable: bool,
    /// Whether a thread is restoring the flag.
    restoring: bool,
    /// How many children may use the memory.
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

/// Exists as long as a child may use this process's memory with other credentials.
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
                // If another thread is the first meanwhile, the turn differs and `replace` fails.
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
                // The flag was set before and is this process's own, so it may be set again. A
                // filter may refuse that.
                let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
                state.restoring = false;
                // No other thread changes the word while it says `restoring`.
                STATE.store(state.pack(), Ordering::Release);
            }
            return;
        }
    }
}

/// Replaces `word` by `state`. Returns whether it did.
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
