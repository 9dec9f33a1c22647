//! Explains why the plan of a `Command` failed. The `Command` itself reports only an errno.

use std::io;
use std::sync::Arc;

use crate::ChildFdsError;
use crate::error_page::ErrorPage;
use crate::registry::Registry;

/// The result of [`PreserveFds::apply`](crate::PreserveFds::apply): it explains what the child
/// could not do. It may be dropped at any time; the plan stays with its `Command`.
#[derive(Clone, Debug)]
pub struct Applied {
    errors: Arc<ErrorPage>,
}

impl Applied {
    pub(crate) fn new(errors: Arc<ErrorPage>) -> Applied {
        Applied { errors }
    }

    /// Explains `spawn_error`, an error of `Command::spawn`, if it comes from the plan. Returns
    /// `None` if it comes from anything else, such as a missing program. The report is taken: a
    /// second call about the same failure returns `None`.
    ///
    /// After a [`ChildFdsError::TargetCollision`], this function reserves the number as well as it
    /// can. So it is worthwhile to spawn the same `Command` again.
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
        // A report that is older than this failure most likely has another errno.
        if spawn_error.raw_os_error() != Some(error.errno()) {
            return None;
        }
        if matches!(error, ChildFdsError::TargetCollision { .. }) {
            // If the registry has no page, it has nothing to settle.
            if let Ok(registry) = Registry::current() {
                registry.settle();
            }
        }
        Some(error)
    }
}
