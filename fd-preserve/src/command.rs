//! Methods on `Command` itself, with the names of the command-fds crate.

use std::os::fd::{OwnedFd, RawFd};
use std::process::Command;

use crate::{Error, PreserveFds};

/// A descriptor of the parent, and its number in the child.
#[derive(Debug)]
#[non_exhaustive]
pub struct FdMapping {
    /// The source. The `Command` owns it, and closes it when it is dropped.
    pub parent_fd: OwnedFd,
    /// The number in the child.
    pub child_fd: RawFd,
}

impl FdMapping {
    /// Gives `parent_fd` on the number `child_fd`.
    #[must_use]
    pub fn new(parent_fd: impl Into<OwnedFd>, child_fd: RawFd) -> FdMapping {
        FdMapping {
            parent_fd: parent_fd.into(),
            child_fd,
        }
    }
}

/// Gives the children of a command descriptors, in one call.
///
/// Each method makes a whole [`PreserveFds`], and a command accepts only one. So call one of these
/// methods, once. Everything else from 3 up is closed at the exec
/// ([`OtherFds::CloseOnExec`](crate::OtherFds)).
///
/// ```
/// use std::fs::File;
/// use std::process::Command;
/// use fd_preserve::{CommandFdExt, FdMapping};
///
/// let mut command = Command::new("sh");
/// let null = File::open("/dev/null")?;
/// command.args(["-c", "test -e /proc/self/fd/7"]).fd_mappings([FdMapping::new(null, 7)])?;
/// assert!(command.status()?.success());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait CommandFdExt {
    /// Gives every child each `parent_fd` on its `child_fd`.
    ///
    /// # Errors
    ///
    /// As [`PreserveFds::map_fd`] and [`PreserveFds::apply`].
    fn fd_mappings(
        &mut self,
        mappings: impl IntoIterator<Item = FdMapping>,
    ) -> Result<&mut Self, Error>;

    /// Gives every child each of `fds` on the number that it has here.
    ///
    /// # Errors
    ///
    /// As [`PreserveFds::preserve_fd`] and [`PreserveFds::apply`].
    fn preserved_fds(&mut self, fds: impl IntoIterator<Item = OwnedFd>)
    -> Result<&mut Self, Error>;
}

impl CommandFdExt for Command {
    fn fd_mappings(
        &mut self,
        mappings: impl IntoIterator<Item = FdMapping>,
    ) -> Result<&mut Self, Error> {
        let mut plan = PreserveFds::new();
        for FdMapping {
            parent_fd,
            child_fd,
        } in mappings
        {
            plan.map_fd(parent_fd, child_fd)?;
        }
        plan.apply(self)?;
        Ok(self)
    }

    fn preserved_fds(
        &mut self,
        fds: impl IntoIterator<Item = OwnedFd>,
    ) -> Result<&mut Self, Error> {
        let mut plan = PreserveFds::new();
        for fd in fds {
            plan.preserve_fd(fd)?;
        }
        plan.apply(self)?;
        Ok(self)
    }
}

#[cfg(feature = "tokio")]
impl CommandFdExt for tokio::process::Command {
    fn fd_mappings(
        &mut self,
        mappings: impl IntoIterator<Item = FdMapping>,
    ) -> Result<&mut Self, Error> {
        self.as_std_mut().fd_mappings(mappings)?;
        Ok(self)
    }

    fn preserved_fds(
        &mut self,
        fds: impl IntoIterator<Item = OwnedFd>,
    ) -> Result<&mut Self, Error> {
        self.as_std_mut().preserved_fds(fds)?;
        Ok(self)
    }
}
