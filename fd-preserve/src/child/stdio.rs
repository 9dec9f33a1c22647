//! The standard streams of the child.

use super::calls::{Errno, fcntl};
use super::socket::{Socket, socket};
use super::target::keep;
use crate::ChildFdsError;

/// Runs in the child: the standard descriptors go through the exec, close-on-exec or not. `held`
/// are those that the parent had closed, and holds `/dev/null` on.
///
/// What `Command` puts there itself is not marked. What is marked is the parent's own stream, in a
/// parent that marks its own, as node does; or the `/dev/null` that the parent holds in place of a
/// closed one.
pub(super) fn pass(held: [bool; 3]) -> Result<(), ChildFdsError> {
    for (fd, held) in (0..).zip(held) {
        match fcntl(fd, libc::F_GETFD, 0) {
            Ok(0) => {}
            Err(Errno(libc::EBADF)) if !held => {}
            Ok(_) => match socket(fd) {
                Socket::None => keep(fd)?,
                _ if held => return Err(ChildFdsError::TargetCollision { target: fd }),
                // Perhaps the error socket, on a number that was closed after the plan was made.
                _ => {}
            },
            Err(Errno(errno)) => return Err(ChildFdsError::Keep { fd, errno }),
        }
    }
    Ok(())
}
