//! A plan as a closure of `Command`.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use super::ChildFds;
use crate::ChildFdsError;
use crate::error_page::ErrorPage;
use crate::registry::Mark;

/// What a `Command` carries: its plan, the page for its errors, and the mark that it has a plan.
#[derive(Debug)]
pub(crate) struct PlanClosure {
    pub(crate) fds: ChildFds,
    pub(crate) errors: Arc<ErrorPage>,
    pub(crate) mark: Mark,
}

impl PlanClosure {
    /// Makes `command` run the plan in the child, after its own steps and after earlier closures.
    pub(crate) fn attach(self, command: &mut Command) {
        // SAFETY: the closure only makes async-signal-safe system calls and accesses atomics; it
        // neither allocates nor locks nor panics. `Command` runs it in a forked child, or, by
        // `CommandExt::exec`, in the process itself; `run` allows both. The closure is one method
        // call, so that it captures the whole value.
        unsafe {
            command.pre_exec(move || self.run());
        }
    }

    /// Runs in the child: installs the plan and reports errors.
    ///
    /// `CommandExt::exec` runs it in the process that made the plan. There it changes nothing: if
    /// the exec failed, that process would continue with descriptors that are not those that their
    /// owners expect.
    ///
    /// # Safety
    ///
    /// Call it in a forked child, under the conditions of [`ChildFds::install`], or in the process
    /// that made the plan.
    unsafe fn run(&self) -> io::Result<()> {
        self.errors.clear();
        let installed = if self.mark.is_forked_copy() {
            // SAFETY: this is a forked child, and the caller promises the rest.
            unsafe { self.fds.install() }
        } else {
            Err(ChildFdsError::NotForked)
        };
        installed.map_err(|error| {
            self.errors.set(error);
            // Contains only a number, so nothing is allocated.
            io::Error::from_raw_os_error(error.errno())
        })
    }
}
