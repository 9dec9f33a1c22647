//! A closure of the caller's.

use std::cell::UnsafeCell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::calls::{Errno, exit};

type Closure = Box<dyn FnMut() -> io::Result<()> + Send + Sync>;

/// A closure of the caller's, to be run in the child.
pub(crate) struct PreExecClosure(UnsafeCell<Closure>);

// SAFETY: the closure is reached only by `PreExecClosure::run`, in a forked child, which has one
// thread and memory of its own; the parent's copy is never called.
unsafe impl Sync for PreExecClosure {}

impl PreExecClosure {
    pub(crate) fn new(
        closure: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
    ) -> PreExecClosure {
        PreExecClosure(UnsafeCell::new(Box::new(closure)))
    }

    /// Between fork and exec: runs the caller's closure. A panic in it ends the child, in the stage
    /// it is in.
    ///
    /// # Safety
    /// In a child made by fork, before its exec.
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

/// How a child ends whose closure panicked. The parent goes by the report.
const PANICKED: i32 = 101;
