//! All descriptors of the child.

use super::mark::mark_all_cloexec;
use super::stdio;
use super::target::Target;
use crate::ChildFdsError;
use crate::other_fds::OtherFds;
use crate::registry::Reservation;

/// The child's half of a plan: the descriptors that it should have, ready to be put on their
/// numbers.
///
/// Made by [`PreserveFds::prepare`](crate::PreserveFds::prepare), for spawners that have a child
/// routine of their own; [`PreserveFds::apply`](crate::PreserveFds::apply) does both for a
/// `Command`. It owns the sources: they stay open in the parent until it is dropped.
#[derive(Debug)]
pub struct ChildFds {
    pub(crate) others: OtherFds,
    /// Whether the spawner has a socket that must be on no target.
    pub(crate) guarded: bool,
    pub(crate) targets: Box<[Target]>,
    /// Standard descriptors that were closed, on which the parent holds /dev/null.
    pub(crate) null_stdio: [bool; 3],
    /// Keeps the sources open, and the targets occupied in the parent.
    pub(crate) _reservation: Reservation,
}

impl ChildFds {
    /// Runs in the child between fork and exec: puts every descriptor on its number.
    ///
    /// In this order: everything from 3 up is marked close-on-exec (unless [`OtherFds::Inherit`]);
    /// the targets are checked for the spawner's own error socket; the sources are duplicated onto
    /// their numbers, or `FD_CLOEXEC` is cleared where they have them already. It may be called
    /// again, in the same process too: the result is the same.
    ///
    /// Async-signal-safe: does not allocate, lock or panic, and changes no memory but `errno`.
    ///
    /// Everything is marked by one call of `close_range(2)` (Linux 5.11). Where that is refused,
    /// with whatever errno, every entry of `/proc/self/fd` is; without /proc, every number that the
    /// process's table of descriptors has room for, if that is no more than 65,536.
    ///
    /// # Errors
    ///
    /// Any [`ChildFdsError`]. The caller must not exec then. Nothing was overwritten in the case of
    /// [`NoCloseMethod`](ChildFdsError::NoCloseMethod) and
    /// [`TargetCollision`](ChildFdsError::TargetCollision).
    ///
    /// # Panics
    ///
    /// None.
    ///
    /// # Safety
    ///
    /// Numbers are replaced without regard to who owns them, so the descriptor table must be one
    /// that nobody else relies on: that of a child made by fork or by clone without `CLONE_FILES`,
    /// before its exec, or that of a process that is about to exec. In the child of a clone with
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
