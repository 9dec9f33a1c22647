//! Session and process group of the child.

use super::calls::{Errno, check};

/// Which session and group the child belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Belonging {
    OwnSession,
    /// 0: a group of its own.
    Group(i32),
}

impl Belonging {
    /// Runs in the child: one system call.
    pub(super) fn take(self) -> Result<(), Errno> {
        check(match self {
            // SAFETY: takes no pointer. A new child leads no group, so it may lead a session.
            Belonging::OwnSession => unsafe { libc::syscall(libc::SYS_setsid) },
            // SAFETY: takes no pointer.
            Belonging::Group(group) => unsafe { libc::syscall(libc::SYS_setpgid, 0, group) },
        })
        .map(drop)
    }
}
