//! The child runs in our memory and the calling thread waits. There are three ways to ask the
//! kernel for that.
//!
//! # How a child that was killed before its exec is told from the program
//!
//! The caller of a `CLONE_VFORK` continues both at the exec and at the death. So the child is
//! created with 0 in place of SIGCHLD as its exit signal. execve sets SIGCHLD (`de_thread` in
//! fs/exec.c: "we have changed execution domain"), always before it lets the caller continue
//! (`exec_mmap`, later in the same function). waitid(2) sees a child with another exit signal than
//! SIGCHLD only with `__WALL` or `__WCLONE`. So `ECHILD` without these flags means a child that
//! never executed the program. This takes one system call, is exact for living and dead children,
//! and needs no /proc.
//!
//! If the kernel reaps the child by itself (`CLONE_AUTOREAP`), nothing is left to ask about after
//! its end. A child that was killed during its exec then counts as the program, and its status is
//! SIGKILL.
//!
//! The exit signal 0 has two more effects. A failed spawn raises no SIGCHLD, and no `waitpid(-1)`
//! elsewhere in the process takes the child away before it has executed the program.

use std::io;

use pidfd_watcher::Process;
use rustix::io::Errno;
use rustix::process::WaitIdOptions;

use super::dumpable::KeptDumpable;
use super::outcome::{self, ANY_CHILD};
use super::sys::{self, CloneMethod, Created, RawBlockedSignals, SharedPage, Stack};
use crate::child::Routine;
use crate::report::Report;
use crate::{SpawnError, Stage};

/// The best first. Only x86-64 has the assembly that clone3 needs: clone3 returns twice, on
/// different stacks, and the C library supports that for clone alone.
const METHODS: [CloneMethod; 3] = [CloneMethod::Clone3, CloneMethod::Clone, CloneMethod::Copy];

pub(super) fn start(routine: &Routine<'_>) -> Result<Process, SpawnError> {
    let stack = Stack::kept().map_err(|error| SpawnError::io(Stage::Report, error))?;
    let started = try_methods(&stack, routine);
    stack.keep();
    started
}

fn try_methods(stack: &Stack, routine: &Routine<'_>) -> Result<Process, SpawnError> {
    let mut refused = Errno::NOSYS;
    let methods = if routine.kill_on_close {
        // No other call can ask for it.
        &METHODS[..1]
    } else {
        &METHODS[..]
    };
    for &method in methods {
        let (own, page);
        let report = if method == CloneMethod::Copy {
            // The child has its own memory, except for this page.
            page = SharedPage::map().map_err(|error| SpawnError::io(Stage::Report, error))?;
            page.report()
        } else {
            own = Report::default();
            &own
        };
        match clone(method, stack, routine, report) {
            Ok(created) => return outcome::settle(created.hold()?, report, executed),
            Err(errno) if sys::is_final(errno) => return Err(SpawnError::io(Stage::Create, errno)),
            // A container's filter may return any errno, so every other errno means: try the next
            // method.
            Err(errno) => refused = errno,
        }
    }
    // The kernel's answer to an unknown flag, and a filter's answer to an unknown call.
    if routine.kill_on_close && matches!(refused, Errno::INVAL | Errno::NOSYS) {
        let text = "kill_on_close needs Linux 7.1 and clone3, on x86-64";
        let error = io::Error::new(io::ErrorKind::Unsupported, text);
        return Err(SpawnError::io(Stage::Create, error));
    }
    Err(SpawnError::io(Stage::Create, refused))
}

fn clone(
    method: CloneMethod,
    stack: &Stack,
    routine: &Routine<'_>,
    report: &Report,
) -> Result<Created, Errno> {
    // No handler of this process may run in the child, because it would change the parent's memory.
    let blocked = RawBlockedSignals::all()?;
    let kept =
        (routine.credentials.change_ids() && method != CloneMethod::Copy).then(KeptDumpable::hold);
    let created = sys::clone(method, stack, routine, report, &blocked);
    drop(kept);
    drop(blocked);
    created
}

/// Whether the child has executed the program: see above.
fn executed(process: &Process) -> bool {
    let look = WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    if outcome::wait(process, look) != Err(Errno::CHILD) {
        return true;
    }
    // Either it never did, and exists until it is reaped. Or it did and is gone, because SIGCHLD is
    // ignored here or another thread waits for any child.
    outcome::wait(process, ANY_CHILD | look) == Err(Errno::CHILD)
}
