//! A plan as a closure of `Command`.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use super::ChildFds;
use crate::ChildFdsError;
use crate::error_page::ErrorPage;
use crate::registry::Mark;

/// What a `Command` carries: its plan, where its errors go, and the note that it has a plan.
#[derive(Debug)]
pub(crate) struct PlanClosure {
    pub(crate) fds: ChildFds,
    pub(crate) errors: Arc<ErrorPage>,
    pub(crate) mark: Mark,
}

impl PlanClosure {
    /// Lets `command` run it in the child, after its own steps and after earlier closures.
    pub(crate) fn attach(self, command: &mut Command) {
        // SAFETY: the closure makes async-signal-safe system calls, and loads and stores of
        // atomics; it neither allocates nor locks nor panics. `Command` runs it in a forked child,
        // or by `CommandExt::exec` in the process itself, which are the two that `run` asks for. It
        // is one method call, so that it captures all of it.
        unsafe {
            command.pre_exec(move || self.run());
        }
    }

    /// Runs in the child: installs the plan and reports what went wrong.
    ///
    /// `CommandExt::exec` runs it in the process that made the plan. There it changes nothing: if
    /// the exec failed, that process would go on with descriptors that are not what their owners
    /// hold them for.
    ///
    /// # Safety
    ///
    /// In a forked child as [`ChildFds::install`], or in the process that made the plan.
    unsafe fn run(&self) -> io::Result<()> {
        self.errors.clear();
        let installed = if self.mark.is_forked_copy() {
            // SAFETY: a forked child, and the caller's promise.
            unsafe { self.fds.install() }
        } else {
            Err(ChildFdsError::NotForked)
        };
        installed.map_err(|error| {
            self.errors.set(error);
            // Carries a number: nothing is allocated.
            io::Error::from_raw_os_error(error.errno())
        })
    }
}
