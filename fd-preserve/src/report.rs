//! How the child's error reaches the parent, where `Command` carries no more than an errno.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

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
            Registry::current().settle();
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
        self.kind().store(NOTHING, Ordering::Release);
    }

    /// Between fork and exec: leaves `error` for the parent. Atomic stores only.
    pub(crate) fn set(&self, error: ChildFdsError) {
        let (kind, fd, errno) = match error {
            ChildFdsError::NoCloseMethod => (NO_CLOSE_METHOD, 0, 0),
            ChildFdsError::TargetCollision { target } => (TARGET_COLLISION, target, 0),
            ChildFdsError::Duplicate { target, errno } => (DUPLICATE, target, errno),
            ChildFdsError::Keep { fd, errno } => (KEEP, fd, errno),
        };
        let [_, fd_word, errno_word, _] = self.words();
        fd_word.store(fd.cast_unsigned(), Ordering::Relaxed);
        errno_word.store(errno.cast_unsigned(), Ordering::Relaxed);
        // Last, so that who sees a kind sees its numbers.
        self.kind().store(kind, Ordering::Release);
    }

    fn take(&self) -> Option<ChildFdsError> {
        let [kind, fd, errno, _] = self.words();
        let kind = kind.swap(NOTHING, Ordering::AcqRel);
        let fd = fd.load(Ordering::Relaxed).cast_signed();
        let errno = errno.load(Ordering::Relaxed).cast_signed();
        match kind {
            NO_CLOSE_METHOD => Some(ChildFdsError::NoCloseMethod),
            TARGET_COLLISION => Some(ChildFdsError::TargetCollision { target: fd }),
            DUPLICATE => Some(ChildFdsError::Duplicate { target: fd, errno }),
            KEEP => Some(ChildFdsError::Keep { fd, errno }),
            _ => None,
        }
    }

    fn kind(&self) -> &AtomicU32 {
        let [kind, ..] = self.words();
        kind
    }

    fn words(&self) -> &Words {
        self.0.words()
    }
}

const NOTHING: u32 = 0;
const NO_CLOSE_METHOD: u32 = 1;
const TARGET_COLLISION: u32 = 2;
const DUPLICATE: u32 = 3;
const KEEP: u32 = 4;
