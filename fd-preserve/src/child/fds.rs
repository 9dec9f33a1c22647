//! All descriptors of the child, together.

use super::mark::mark_all_cloexec;
use super::stdio;
use super::target::Target;
use crate::ChildFdsError;
use crate::other_fds::OtherFds;
use crate::registry::Reservation;

/// The child's half of a plan: the descriptors that the child must have, ready to be put on their
/// numbers.
///
/// [`PreserveFds::prepare`](crate::PreserveFds::prepare) makes it, for spawners that have their own
/// child routine. For a `Command`, [`PreserveFds::apply`](crate::PreserveFds::apply) does
/// everything. This value owns the sources: they stay open in the parent until it is dropped.
#[derive(Debug)]
pub struct ChildFds {
    pub(crate) others: OtherFds,
    /// Whether the spawner has an error socket that must not be on a target.
    pub(crate) guarded: bool,
    pub(crate) targets: Box<[Target]>,
    /// Standard descriptors that were closed. The parent has put /dev/null there.
    pub(crate) null_stdio: [bool; 3],
    /// Keeps the sources open, and the targets occupied in the parent.
    pub(crate) _reservation: Reservation,
}

impl ChildFds {
    /// Runs in the child between fork and exec: puts every descriptor on its number.
    ///
    /// It does this in order:
    /// 1. It marks everything from 3 up close-on-exec (unless [`OtherFds::Inherit`]).
    /// 2. It checks that the spawner's own error socket is on no target.
    /// 3. It duplicates the sources onto their numbers. If a source already has its number, it
    ///    clears `FD_CLOEXEC` instead.
    ///
    /// It may be called again, also in the same process; the result is the same.
    ///
    /// Async-signal-safe: it does not allocate, lock or panic, and changes no memory except
    /// `errno`.
    ///
    /// One call of `close_range(2)` marks everything (Linux 5.11). If that is refused, with any
    /// errno, every entry of `/proc/self/fd` is marked. Without /proc, every number in the
    /// process's descriptor table is marked, if the table has room for no more than 65,536.
    ///
    /// # Errors
    ///
    /// Any [`ChildFdsError`]. The caller must not exec then. For
    /// [`NoCloseMethod`](ChildFdsError::NoCloseMethod) and
    /// [`TargetCollision`](ChildFdsError::TargetCollision), nothing was overwritten.
    ///
    /// # Panics
    ///
    /// None.
    ///
    /// # Safety
    ///
    /// This replaces numbers without regard to their owners. So nobody else may rely on the
    /// descriptor table. It must belong to a child made by fork, or by clone without `CLONE_FILES`,
    /// before its exec, or to a process that is about to exec. In the child of a clone with
    /// `CLONE_VM`, the parent must be suspended (`CLONE_VFORK`), because `errno` is shared.
    ///
    /// # References
    ///
    /// [close_range(2)](https://man7.org/linux/man-pages/man2/close_range.2.html),
    /// [dup3(2)](https://man7.org/linux/man-pages/man2/dup3.2.html),
    /// [signal-safety(7)](https://man7.org/linux/man-pages/man7/signal-safety.7.html)
    pub unsafe fn install(&self) -> Result<(), ChildFdsError> {
        if self.others == OtherFds::CloseOnExec {
            mark_all_cloexec()?;
        }
        if self.guarded {
            for target in &self.targets {
                target.guard()?;
            }
            stdio::pass(self.null_stdio)?;
        }
        for target in &self.targets {
            target.install()?;
        }
        Ok(())
    }
}
