//! One descriptor of the child.

use std::os::fd::RawFd;

use super::calls::{Errno, duplicate, fcntl};
use super::socket::{Socket, socket};
use crate::ChildFdsError;

/// One descriptor of the child.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    number: RawFd,
    /// The source, which is never a target itself. `None` if the descriptor keeps its number.
    from: Option<RawFd>,
    /// The socket that was on the number when the plan was made. It belongs to the caller, not to
    /// the spawner.
    known: Socket,
}

impl Target {
    /// Runs in the parent, once the number is reserved. Only a `guarded` child needs to know what
    /// is on the number.
    pub(crate) fn new(number: RawFd, from: Option<RawFd>, guarded: bool) -> Target {
        Target {
            number,
            from,
            known: if guarded {
                socket(number)
            } else {
                Socket::None
            },
        }
    }

    /// Runs in the child: refuses a number that has the spawner's error socket.
    ///
    /// If that socket were overwritten, a failed exec would look like a success, and std's error
    /// record would go to the descriptor that replaced it. If its flag were cleared, the parent
    /// would wait until the child ends.
    pub(super) fn guard(&self) -> Result<(), ChildFdsError> {
        match socket(self.number) {
            Socket::None => Ok(()),
            found @ Socket::Cookie(_) if found == self.known => Ok(()),
            _ => Err(ChildFdsError::TargetCollision {
                target: self.number,
            }),
        }
    }

    /// Runs in the child: puts the descriptor on its number.
    pub(super) fn install(&self) -> Result<(), ChildFdsError> {
        let target = self.number;
        match self.from {
            None => keep(target),
            Some(from) => duplicate(from, target)
                .map_err(|Errno(errno)| ChildFdsError::Duplicate { target, errno }),
        }
    }
}

/// Runs in the child: clears `FD_CLOEXEC`, the only flag there is.
pub(super) fn keep(fd: RawFd) -> Result<(), ChildFdsError> {
    fcntl(fd, libc::F_SETFD, 0)
        .map(drop)
        .map_err(|Errno(errno)| ChildFdsError::Keep { fd, errno })
}
