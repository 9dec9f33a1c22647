//! The C library's fork, for closures of the caller, which may rely on its handlers.
//!
//! After fork the parent runs on, so it has to learn when the child has executed the program or
//! died. It does not learn that through a descriptor, because a mapping, or a closure that closes
//! everything, could hit it. Instead, the child owns a word of a shared page as a robust futex. The
//! kernel marks and wakes such a word at an exec and at every kind of death (`futex_exec_release`
//! and `futex_exit_release` in kernel/futex/core.c).

use std::time::Duration;

use pidfd_watcher::{Process, proc_stat_field};

use super::outcome;
use super::sys::{self, RawBlockedSignals, SharedPage};
use crate::child::Routine;
use crate::sys::nap;
use crate::{SpawnError, Stage};

pub(super) fn start(routine: &Routine<'_>) -> Result<Process, SpawnError> {
    let page = SharedPage::map().map_err(|error| SpawnError::io(Stage::Report, error))?;
    let pid = {
        let blocked = RawBlockedSignals::all().map_err(|e| SpawnError::io(Stage::Create, e))?;
        sys::fork(routine, &page, &blocked).map_err(|e| SpawnError::io(Stage::Create, e))?
    };
    // The pid is the child's own: the child waits for us before it does anything that could end it.
    let process = sys::open(pid)?;
    page.hold();
    page.wait_for_exec_or_death(&process);
    outcome::settle(process, page.report(), executed)
}

/// Whether the child has executed the program, called after the kernel has released the word.
///
/// At an exec, the kernel releases the word before it clears `PF_FORKNOEXEC`; at a death, after it
/// sets `PF_EXITING`. Without /proc, a death here counts as a death of the program.
fn executed(process: &Process) -> bool {
    loop {
        match flags(process) {
            Some(flags) if flags & PF_FORKNOEXEC != 0 => {
                if flags & PF_EXITING != 0 {
                    return false;
                }
                // The child is in its exec, for microseconds more. Sleep instead of a yield: after
                // a yield, a child that shares this CPU would run for the rest of its time slice.
                nap(Duration::from_micros(1));
            }
            _ => return true,
        }
    }
}

const PF_EXITING: u64 = 0x4;
const PF_FORKNOEXEC: u64 = 0x40;

/// Field 9 of the process's line in /proc.
fn flags(process: &Process) -> Option<u64> {
    proc_stat_field(&process.proc_stat().ok()?, 9)?.parse().ok()
}
