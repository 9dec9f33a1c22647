//! What became of a plan that was applied to a `Command`, which itself carries no more than an
//! errno.

use std::io;
use std::sync::Arc;

use crate::ChildFdsError;
use crate::error_page::ErrorPage;
use crate::registry::Registry;

/// What [`PreserveFds::apply`](crate::PreserveFds::apply) leaves with the caller: it tells what the
/// child could not do. May be dropped at any time; the plan stays with its `Command`.
#[derive(Clone, Debug)]
pub struct Applied {
    errors: Arc<ErrorPage>,
}

impl Applied {
    pub(crate) fn new(errors: Arc<ErrorPage>) -> Applied {
        Applied { errors }
    }

    /// What `spawn_error`, an error of `Command::spawn`, means, if it comes from the plan; `None`
    /// if it comes from anything else, as a missing program does. The report is taken: asking again
    /// about the same failure gives `None`.
    ///
    /// After a [`ChildFdsError::TargetCollision`] the number has been reserved as well as it can
    /// be, so spawning the same `Command` again is worthwhile.
    ///
    /// ```no_run
    /// # use std::{fs::File, process::Command};
    /// # use fd_preserve::PreserveFds;
    /// let mut command = Command::new("helper");
    /// let mut fds = PreserveFds::new();
    /// fds.map_fd(File::open("/etc/hosts")?, 3)?;
    /// let applied = fds.apply(&mut command)?;
    /// let child = command.spawn().map_err(|error| match applied.explain(&error) {
    ///     Some(reason) => Box::<dyn std::error::Error>::from(reason),
    ///     None => error.into(),
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn explain(&self, spawn_error: &io::Error) -> Option<ChildFdsError> {
        let error = self.errors.take()?;
        // A report that is older than this failure has, in all likelihood, another errno.
        if spawn_error.raw_os_error() != Some(error.errno()) {
            return None;
        }
        if matches!(error, ChildFdsError::TargetCollision { .. }) {
            // Without a page for the registry there is nothing in it to settle.
            if let Ok(registry) = Registry::current() {
                registry.settle();
            }
        }
        Some(error)
    }
}
