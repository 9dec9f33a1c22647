//! What runs in a copy of this process, and how a copy ends.

mod gate;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{Error, Pid, sys};

pub(crate) use crate::child::gate::Gate;

/// What a Rust program ends with when its main thread panics.
const PANICKED: i32 = 101;

/// Forks. The child waits until `gate` opens, runs `child` and ends; if the gate goes unopened, it
/// ends at once. Here come its number and the gate.
///
/// # Safety
///
/// In the child only the calling thread exists: `child` does what is allowed there.
pub(crate) unsafe fn fork(gate: Gate, child: impl FnOnce() -> i32) -> Result<(Pid, Gate), Error> {
    // Not the bare system call. It leaves the parent's thread id in the C library's structures, so
    // that pthread_setaffinity_np in the child would change the parent, and it leaves the
    // allocator's locks as they are.
    // SAFETY: our caller answers for what the child does in its copy of this process.
    let forked = unsafe { libc::fork() };
    if forked == 0 {
        if gate.wait() {
            run(child);
        }
        end_copy();
    }
    // -1 must not come near Pid::from_raw, which takes it for a number in a release build and
    // panics in others.
    let pid = Some(forked).filter(|&pid| pid > 0).and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Error::of_clone(sys::errno()))?;
    Ok((pid, gate))
}

/// In the forked child: runs the caller's closure and ends.
fn run(child: impl FnOnce() -> i32) -> ! {
    // To unwind further would run the destructors of the caller's copy: its temporary files are the
    // parent's.
    let code = catch_unwind(AssertUnwindSafe(child)).unwrap_or_else(|payload| {
        // Not dropped, since it may panic again; its memory goes with the process.
        std::mem::forget(payload);
        PANICKED
    });
    // SAFETY: ends the process; no handler or destructor runs that belongs to the parent.
    unsafe { libc::_exit(code) }
}

/// Ends a copy of this process, made by fork, that has nothing to do. Its exit code is 0, as that
/// of a process whose last thread has ended.
///
/// Runs no exit handler and no destructor: the buffers and temporary files that they would care for
/// are the parent's.
pub(crate) fn end_copy() -> ! {
    // SAFETY: ends the process; no handler or destructor runs that belongs to the parent.
    unsafe { libc::_exit(0) }
}
