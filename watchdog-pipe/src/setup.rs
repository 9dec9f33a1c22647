//! What the child gets.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use crate::variable::{ENV_VAR, Variable};
use crate::{StopPolicy, sys};

/// The number of the pipe's read end in the child, unless [`ChildSetup::renumber`] says otherwise.
pub const PIPE_FD: RawFd = 3;

/// What the child needs: descriptors on certain numbers, and a variable that names those numbers.
///
/// Keep it until the child is spawned, then drop it: that closes this process's copy of the read end.
/// One child a setup: two that share a pipe would steal each other's words.
#[derive(Debug)]
pub struct ChildSetup {
    read: OwnedFd,
    variable: Variable,
}

impl ChildSetup {
    pub(crate) fn new(read: OwnedFd, policy: Option<StopPolicy>) -> io::Result<ChildSetup> {
        let inspected = sys::inspect(sys::number(&read))?;
        let variable = Variable {
            pipe_fd: PIPE_FD,
            device: inspected.device,
            inode: inspected.inode,
            policy,
        };
        Ok(ChildSetup { read, variable })
    }

    /// Puts the read end on another number in the child, for whoever needs [`PIPE_FD`] otherwise.
    /// A negative number is refused by whatever maps it, and by the child as malformed.
    pub fn renumber(&mut self, pipe_fd: RawFd) -> &mut ChildSetup {
        self.variable.pipe_fd = pipe_fd;
        self
    }

    /// The descriptors to pass on, each with its number in the child. They are close-on-exec here, and
    /// must stay so: map them in the child.
    pub fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, RawFd)> {
        std::iter::once((self.read.as_fd(), self.variable.pipe_fd))
    }

    /// The variable for the child's environment: name and value.
    #[must_use]
    pub fn env(&self) -> (&'static str, String) {
        (ENV_VAR, self.variable.to_string())
    }
}
