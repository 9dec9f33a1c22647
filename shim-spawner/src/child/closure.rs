//! A closure of the caller.

use std::cell::UnsafeCell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::calls::{Errno, exit};

type Closure = Box<dyn FnMut() -> io::Result<()> + Send + Sync>;

/// A closure of the caller that runs in the child.
pub(crate) struct PreExecClosure(UnsafeCell<Closure>);

// SAFETY: only `PreExecClosure::run` uses the closure, in a forked child, which has one thread and
// its own memory. The parent's copy is never called.
unsafe impl Sync for PreExecClosure {}

impl PreExecClosure {
    pub(crate) fn new(
        closure: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
    ) -> PreExecClosure {
        PreExecClosure(UnsafeCell::new(Box::new(closure)))
    }

    /// Runs the caller's closure, between fork and exec. A panic in the closure ends the child, and
    /// the report names the stage.
    ///
    /// # Safety
    /// Call it in a child made by fork, before its exec.
    pub(super) unsafe fn run(&self) -> Result<(), Errno> {
        // SAFETY: a forked child has one thread, so no other reference to the closure is in use.
        let run = || unsafe { (*self.0.get())() };
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Errno(error.raw_os_error().unwrap_or(libc::EINVAL))),
            Err(_) => exit(PANICKED),
        }
    }
}

/// The exit code of a child whose closure panicked. The parent reads the report, not this code.
const PANICKED: i32 = 101;
