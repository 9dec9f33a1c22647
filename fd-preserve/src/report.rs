//! How the child's error reaches the parent, where `Command` carries no more than an errno.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::registry::Registry;
use crate::sys::{Page, Words};
use crate::{ChildFdsError, Error};

/// What [`PreserveFds::apply`](crate::PreserveFds::apply) leaves with the caller: it tells what the
/// child could not do. May be dropped at any time; the plan stays with its `Command`.
#[derive(Clone, Debug)]
pub struct Applied {
    report: Arc<Report>,
}

impl Applied {
    pub(crate) fn new(report: Arc<Report>) -> Applied {
        Applied { report }
    }

    /// What `spawn_error`, an error of `Command::spawn`, means, if it comes from the plan; `None` if it
    /// comes from anything else, as a missing program does. The report is taken: asking again about
    /// the same failure gives `None`.
    ///
    /// After a [`ChildFdsError::TargetCollision`] the number has been reserved as well as it can be, so
    /// spawning the same `Command` again is worthwhile.
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
        let error = self.report.take()?;
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

/// One error, in a page that the child shares with its parent.
#[derive(Debug)]
pub(crate) struct Report(Page);

impl Report {
    pub(crate) fn new() -> Result<Report, Error> {
        Page::shared()
            .map(Report)
            .map_err(|source| Error::SharedPage { source })
    }

    /// Between fork and exec: forgets the error of an earlier child. Atomic stores only.
    pub(crate) fn clear(&self) {
        let [code, ..] = self.words();
        code.store(NOTHING, Ordering::Release);
    }

    /// Between fork and exec: leaves `error` for the parent. Atomic stores only.
    pub(crate) fn set(&self, error: ChildFdsError) {
        let (fd, errno) = (error.fd().unwrap_or(-1), error.errno());
        let [code, fd_word, errno_word, _] = self.words();
        fd_word.store(fd.cast_unsigned(), Ordering::Relaxed);
        errno_word.store(errno.cast_unsigned(), Ordering::Relaxed);
        let found = (1..)
            .zip(ChildFdsError::ALL)
            .find(|(_, kind)| kind(fd, errno) == error);
        // Last, so that who sees a code sees its numbers.
        code.store(found.map_or(NOTHING, |(code, _)| code), Ordering::Release);
    }

    fn take(&self) -> Option<ChildFdsError> {
        let [code, fd, errno, _] = self.words();
        let code = code.swap(NOTHING, Ordering::AcqRel);
        let fd = fd.load(Ordering::Relaxed).cast_signed();
        let errno = errno.load(Ordering::Relaxed).cast_signed();
        let place = usize::try_from(code).ok()?.checked_sub(1)?;
        ChildFdsError::ALL.get(place).map(|kind| kind(fd, errno))
    }

    fn words(&self) -> &Words {
        self.0.words()
    }
}

/// No error. The others are counted from 1.
const NOTHING: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_the_child_arrives_as_it_was_left() -> Result<(), Error> {
        let report = Report::new()?;
        for kind in ChildFdsError::ALL {
            let error = kind(7, 9);
            report.set(error);
            assert_eq!(report.take(), Some(error));
            assert_eq!(report.take(), None);
        }
        Ok(())
    }
}
