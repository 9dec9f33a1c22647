//! What runs between fork and exec.
//!
//! Another thread of the parent may have held any lock at the fork, and another spawner may share the
//! parent's memory with the child (`CLONE_VM`): so nothing here allocates, locks, panics, or writes to
//! memory that the parent reads, `errno` and the caller's own error record excepted. System calls are
//! made by number, since the C library's functions may be cancellation points.

mod calls;
mod mark;
mod socket;

use std::io;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

pub(crate) use calls::limits;
use calls::{Errno, duplicate, fcntl};
use mark::mark_all_cloexec;
use socket::{Socket, socket};

use crate::registry::{Mark, Reservation};
use crate::report::Report;
use crate::{ChildFdsError, OtherFds};

/// The child's half of a plan: the descriptors that it should have, ready to be put on their numbers.
///
/// Made by [`PreserveFds::prepare`](crate::PreserveFds::prepare), for spawners that have a child
/// routine of their own; [`PreserveFds::apply`](crate::PreserveFds::apply) does both for a `Command`.
/// It owns the sources: they stay open in the parent until it is dropped.
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

/// One descriptor of the child.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    number: RawFd,
    /// The source; never a target itself. `None` if the descriptor keeps its number.
    from: Option<RawFd>,
    /// The socket that lay on the number when the plan was made: the caller's own, not the spawner's.
    known: Socket,
}

impl ChildFds {
    /// Runs in the child between fork and exec: puts every descriptor on its number.
    ///
    /// In this order: everything from 3 up is marked close-on-exec (unless
    /// [`OtherFds::Inherit`]); the targets are checked for the spawner's own error socket; the sources
    /// are duplicated onto their numbers, or `FD_CLOEXEC` is cleared where they have them already. It
    /// may be called again, in the same process too: the result is the same.
    ///
    /// Async-signal-safe: does not allocate, lock or panic, and changes no memory but `errno`.
    ///
    /// Everything is marked by one call of `close_range(2)` (Linux 5.11). Where that is refused, with
    /// whatever errno, every entry of `/proc/self/fd` is; without /proc, every number that the process's
    /// table of descriptors has room for, if that is no more than 65,536.
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
    /// Numbers are replaced without regard to who owns them, so the descriptor table must be one that
    /// nobody else relies on: that of a child made by fork or by clone without `CLONE_FILES`, before its exec, or
    /// that of a process that is about to exec. In the child of a clone with `CLONE_VM`, the parent must
    /// be suspended (`CLONE_VFORK`), because `errno` is shared.
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
            self.pass_stdio()?;
        }
        for target in &self.targets {
            target.install()?;
        }
        Ok(())
    }

    /// Runs in the child: the standard descriptors go through the exec, close-on-exec or not.
    ///
    /// What `Command` puts there itself is not marked. What is marked is the parent's own stream, in a parent
    /// that marks its own, as node does; or the `/dev/null` that the parent holds in place of a closed one.
    fn pass_stdio(&self) -> Result<(), ChildFdsError> {
        for (fd, held) in (0..).zip(self.null_stdio) {
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
}

impl Target {
    /// Runs in the parent, once the number is reserved. What lies there matters to a `guarded` child alone.
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
    fn guard(&self) -> Result<(), ChildFdsError> {
        match socket(self.number) {
            Socket::None => Ok(()),
            found @ Socket::Cookie(_) if found == self.known => Ok(()),
            _ => Err(ChildFdsError::TargetCollision {
                target: self.number,
            }),
        }
    }

    /// Runs in the child: gives the descriptor its number.
    fn install(&self) -> Result<(), ChildFdsError> {
        let target = self.number;
        match self.from {
            None => keep(target),
            Some(from) => duplicate(from, target)
                .map_err(|Errno(errno)| ChildFdsError::Duplicate { target, errno }),
        }
    }
}

/// Runs in the child: clears `FD_CLOEXEC`, the only flag there is.
fn keep(fd: RawFd) -> Result<(), ChildFdsError> {
    fcntl(fd, libc::F_SETFD, 0)
        .map(drop)
        .map_err(|Errno(errno)| ChildFdsError::Keep { fd, errno })
}

/// What a `Command` carries: its plan, where to report, and the note that it has a plan.
#[derive(Debug)]
pub(crate) struct Hook {
    pub(crate) fds: ChildFds,
    pub(crate) report: Arc<Report>,
    pub(crate) mark: Mark,
}

impl Hook {
    /// Runs in the child: installs the plan and reports what went wrong.
    ///
    /// `CommandExt::exec` runs it in the process that made the plan. There it changes nothing: if the exec
    /// failed, that process would go on with descriptors that are not what their owners hold them for.
    ///
    /// # Safety
    ///
    /// In a forked child as [`ChildFds::install`], or in the process that made the plan.
    unsafe fn run(&self) -> io::Result<()> {
        self.report.clear();
        let installed = if self.mark.is_forked_copy() {
            // SAFETY: a forked child, and the caller's promise.
            unsafe { self.fds.install() }
        } else {
            Err(ChildFdsError::NotForked)
        };
        installed.map_err(|error| {
            self.report.set(error);
            // Carries a number: nothing is allocated.
            io::Error::from_raw_os_error(error.errno())
        })
    }
}

/// Lets `command` run `hook` in the child, after its own steps and after earlier closures.
pub(crate) fn attach(command: &mut Command, hook: Hook) {
    // SAFETY: the closure makes async-signal-safe system calls, and loads and stores of atomics; it neither
    // allocates nor locks nor panics. `Command` runs it in a forked child, or by `CommandExt::exec` in the
    // process itself, which are the two that `run` asks for. It is one method call, so that it captures
    // all of `hook`.
    unsafe {
        command.pre_exec(move || hook.run());
    }
}
