//! The C library's fork: for closures of the caller's, which may rely on its handlers.
//!
//! fork leaves the parent running, so it must be told when the child has become the program or
//! died. No descriptor tells it, which a mapping, or a closure that closes everything, could hit:
//! the child owns a word of a shared page as a robust futex, and the kernel marks and wakes such a
//! word at an exec and at a death, however it comes (`futex_exec_release` and `futex_exit_release`
//! in kernel/futex/core.c).

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
    // The number is the child's own: it waits for us before it does anything that could end it.
    let process = sys::open(pid)?;
    page.hold();
    page.wait_for_exec_or_death(&process);
    outcome::settle(process, page.report(), executed)
}

/// Whether the child became the program, asked when the kernel has let go of the word.
///
/// At an exec that comes before `PF_FORKNOEXEC` is cleared, at a death after `PF_EXITING` is set.
/// Without /proc, a death here is one of the program.
fn executed(process: &Process) -> bool {
    loop {
        match flags(process) {
            Some(flags) if flags & PF_FORKNOEXEC != 0 => {
                if flags & PF_EXITING != 0 {
                    return false;
                }
                // In the middle of its exec, for microseconds more. Asleep and not merely yielding:
                // a child that shares this CPU would run for the rest of its slice.
                nap(Duration::from_micros(1));
            }
            _ => return true,
        }
    }
}

const PF_EXITING: u64 = 0x4;
const PF_FORKNOEXEC: u64 = 0x40;

/// Field 9 of its line in /proc.
fn flags(process: &Process) -> Option<u64> {
    proc_stat_field(&process.proc_stat().ok()?, 9)?.parse().ok()
}
