//! The code that runs in a forked copy of this process, and how a copy ends.

mod gate;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{Error, Pid, sys};

pub(crate) use crate::child::gate::Gate;

/// The exit code of a Rust program whose main thread panics.
const PANICKED: i32 = 101;

/// Forks. The child waits until `gate` opens, runs `child` and ends. If the gate is dropped without
/// being opened, the child ends at once. Returns the child's pid and the gate.
///
/// # Safety
///
/// In the child only the calling thread exists: `child` must do only what is allowed there.
pub(crate) unsafe fn fork(gate: Gate, child: impl FnOnce() -> i32) -> Result<(Pid, Gate), Error> {
    // Not the raw system call. That would leave the parent's thread id in the C library's
    // structures, so that pthread_setaffinity_np in the child would change the parent. It would
    // also leave the allocator's locks as they are.
    // SAFETY: our caller answers for what the child does in its copy of this process.
    let forked = unsafe { libc::fork() };
    if forked == 0 {
        if gate.wait() {
            run(child);
        }
        end_copy();
    }
    // -1 must not reach Pid::from_raw: a release build accepts it as a pid, and a debug build
    // panics.
    let pid = Some(forked).filter(|&pid| pid > 0).and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Error::of_clone(sys::errno()))?;
    Ok((pid, gate))
}

/// In the forked child: runs the caller's closure and ends.
fn run(child: impl FnOnce() -> i32) -> ! {
    // Unwinding further would run destructors in the copy of the caller, for example for temporary
    // files that belong to the parent.
    let code = catch_unwind(AssertUnwindSafe(child)).unwrap_or_else(|payload| {
        // Leaked, because its drop may panic again. The process ends and frees the memory.
        std::mem::forget(payload);
        PANICKED
    });
    // SAFETY: ends the process; no handler or destructor runs that belongs to the parent.
    unsafe { libc::_exit(code) }
}

/// Ends a forked copy of this process that has nothing to do. Its exit code is 0, like that of a
/// process whose last thread has ended.
///
/// Runs no exit handler and no destructor: they would handle buffers and temporary files that
/// belong to the parent.
pub(crate) fn end_copy() -> ! {
    // SAFETY: ends the process; no handler or destructor runs that belongs to the parent.
    unsafe { libc::_exit(0) }
}
