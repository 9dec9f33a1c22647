//! The standard streams of the child.

use super::calls::{Errno, fcntl};
use super::socket::{Socket, socket};
use super::target::keep;
use crate::ChildFdsError;

/// Runs in the child: makes the standard descriptors survive the exec, even if they are
/// close-on-exec. `held` are those that the parent had closed and on which it holds `/dev/null`.
///
/// Streams that `Command` itself puts there are not marked close-on-exec. A marked one is either
/// the parent's own stream, in a parent that marks its own, such as node, or the `/dev/null` that
/// the parent holds instead of a closed one.
pub(super) fn pass(held: [bool; 3]) -> Result<(), ChildFdsError> {
    for (fd, held) in (0..).zip(held) {
        match fcntl(fd, libc::F_GETFD, 0) {
            Ok(0) => {}
            Err(Errno(libc::EBADF)) if !held => {}
            Ok(_) => match socket(fd) {
                Socket::None => keep(fd)?,
                _ if held => return Err(ChildFdsError::TargetCollision { target: fd }),
                // This may be the error socket, on a number that was closed after the plan was
                // made.
                _ => {}
            },
            Err(Errno(errno)) => return Err(ChildFdsError::Keep { fd, errno }),
        }
    }
    Ok(())
}
