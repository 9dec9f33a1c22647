//! One descriptor of the child.

use std::os::fd::RawFd;

use super::calls::{Errno, duplicate, fcntl};
use super::socket::{Socket, socket};
use crate::ChildFdsError;

/// One descriptor of the child.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    number: RawFd,
    /// The source; never a target itself. `None` if the descriptor keeps its number.
    from: Option<RawFd>,
    /// The socket that lay on the number when the plan was made: the caller's own, not the
    /// spawner's.
    known: Socket,
}

impl Target {
    /// Runs in the parent, once the number is reserved. What lies there matters to a `guarded`
    /// child alone.
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

    /// Runs in the child: refuses a number on which the spawner's error socket lies.
    ///
    /// Overwriting that socket makes a failed exec look like a success and sends std's error record
    /// into the descriptor that took its place; clearing its flag makes the parent wait for the
    /// child's end.
    pub(super) fn guard(&self) -> Result<(), ChildFdsError> {
        match socket(self.number) {
            Socket::None => Ok(()),
            found @ Socket::Cookie(_) if found == self.known => Ok(()),
            _ => Err(ChildFdsError::TargetCollision {
                target: self.number,
            }),
        }
    }

    /// Runs in the child: gives the descriptor its number.
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
