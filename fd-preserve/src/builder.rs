//! Describes what the child gets, and does the parent's half of the work.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::process::Command;
use std::sync::Arc;

use rustix::io::{Errno, fcntl_dupfd_cloexec};

use crate::applied::Applied;
use crate::child::{self, ChildFds, PlanClosure, Target};
use crate::error_page::ErrorPage;
use crate::other_fds::OtherFds;
use crate::registry::Registry;
use crate::{Error, FdPlan, Origin, Step};

/// Which descriptors a child gets, and on which numbers.
///
/// The child gets the descriptors named here and its standard streams, as `Command` sets them up,
/// and no others: see [`other_fds`](Self::other_fds).
///
/// A source can be given in three ways:
/// - By value (`preserve_fd`, `map_fd`, `next_fd`). The plan owns it, and keeps it open until the
///   `Command` is dropped, so that the `Command` can be spawned again. If the call fails, the
///   source is closed.
/// - Borrowed (the `_borrowed_` methods). It is duplicated at once, close-on-exec, because a
///   `Command` has no lifetime that could hold a borrow. The original's flags never change, and it
///   can be closed (but see [`preserve_borrowed_fd`](Self::preserve_borrowed_fd)).
/// - Shared (the `_shared_` methods). It is neither taken away nor duplicated.
///
/// The numbers 0, 1 and 2 may be targets. They take precedence over `Command`'s own `stdin`,
/// `stdout` and `stderr`.
///
/// ```
/// use std::fs::File;
/// use std::process::Command;
/// use fd_preserve::PreserveFds;
///
/// let mut command = Command::new("sh");
/// command.args(["-c", "read -r line <&9 && test -n \"$line\""]);
///
/// let mut fds = PreserveFds::new();
/// fds.map_fd(File::open("/proc/self/status")?, 9)?;
/// fds.apply(&mut command)?;
/// assert!(command.status()?.success());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct PreserveFds {
    entries: Vec<(Arc<OwnedFd>, RawFd)>,
    targets: BTreeSet<RawFd>,
    others: OtherFds,
}

/// How a spawner learns that the exec of its child failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorChannel {
    /// Over a close-on-exec Unix socket of type `SOCK_SEQPACKET` on any number, as
    /// `std::process::Command` does. Targets are reserved in the parent. The child checks that the
    /// socket is on none of them.
    Socket,
    /// Not over a descriptor: nothing is reserved or checked.
    None,
}

impl PreserveFds {
    /// A plan that gives the child no descriptors yet.
    #[must_use]
    pub fn new() -> PreserveFds {
        PreserveFds::default()
    }

    /// Gives the child `fd`, on the number that it has here.
    ///
    /// # Errors
    ///
    /// [`Error::DuplicateTarget`] if the plan already gives that number.
    pub fn preserve_fd(&mut self, fd: impl Into<OwnedFd>) -> Result<&mut Self, Error> {
        let fd = fd.into();
        let target = fd.as_raw_fd();
        self.map_shared_fd(Arc::new(fd), target)
    }

    /// Gives the child a duplicate of `fd`, on the number that `fd` has here.
    ///
    /// `fd` keeps that number, so the number is not reserved. If `fd` is closed before the spawn,
    /// `Command`'s error socket may get the number, and the spawn then fails with
    /// [`TargetCollision`](crate::ChildFdsError::TargetCollision). Keep `fd` open, or give it by
    /// value.
    ///
    /// # Errors
    ///
    /// [`Error::DuplicateTarget`]; [`Error::TooManyOpenFiles`] (`EMFILE`) or [`Error::Duplicate`]
    /// (any other errno) if it cannot be duplicated.
    pub fn preserve_borrowed_fd(&mut self, fd: impl AsFd) -> Result<&mut Self, Error> {
        let fd = fd.as_fd();
        self.map_borrowed_fd(fd, fd.as_raw_fd())
    }

    /// Gives the child `fd`, on the number `child_fd`.
    ///
    /// # Errors
    ///
    /// [`Error::DuplicateTarget`] and [`Error::NegativeTarget`]. The upper limit is checked by
    /// [`apply`](Self::apply).
    pub fn map_fd(&mut self, fd: impl Into<OwnedFd>, child_fd: RawFd) -> Result<&mut Self, Error> {
        self.map_shared_fd(Arc::new(fd.into()), child_fd)
    }

    /// Gives the child `fd`, on the number `child_fd`. The plan shares `fd` with its other owners
    /// for as long as it needs it, and makes no system call for that. Use it for a descriptor that
    /// many plans give.
    ///
    /// # Errors
    ///
    /// As [`map_fd`](Self::map_fd).
    pub fn map_shared_fd(&mut self, fd: Arc<OwnedFd>, child_fd: RawFd) -> Result<&mut Self, Error> {
        self.check(child_fd)?;
        self.targets.insert(child_fd);
        self.entries.push((fd, child_fd));
        Ok(self)
    }

    /// Gives the child a duplicate of `fd`, on the number `child_fd`. The same `fd` may be given on
    /// several numbers.
    ///
    /// # Errors
    ///
    /// As [`map_fd`](Self::map_fd), and [`Error::TooManyOpenFiles`] (`EMFILE`) or
    /// [`Error::Duplicate`] (any other errno) if it cannot be duplicated.
    pub fn map_borrowed_fd(&mut self, fd: impl AsFd, child_fd: RawFd) -> Result<&mut Self, Error> {
        self.check(child_fd)?;
        let fd = duplicate(fd, FIRST)?;
        self.map_fd(fd, child_fd)
    }

    /// Gives the child `fd`, on the lowest number from 3 up that this plan does not give yet, and
    /// returns that number. Name fixed numbers first: a later [`map_fd`](Self::map_fd) to the same
    /// number is refused.
    ///
    /// # Errors
    ///
    /// None today. The signature allows for numbers that run out.
    pub fn next_fd(&mut self, fd: impl Into<OwnedFd>) -> Result<RawFd, Error> {
        self.next_shared_fd(Arc::new(fd.into()))
    }

    /// The same as [`next_fd`](Self::next_fd), for an `fd` that has other owners too: see
    /// [`map_shared_fd`](Self::map_shared_fd).
    ///
    /// # Errors
    ///
    /// As [`next_fd`](Self::next_fd).
    pub fn next_shared_fd(&mut self, fd: Arc<OwnedFd>) -> Result<RawFd, Error> {
        let target = self.next_target();
        self.map_shared_fd(fd, target)?;
        Ok(target)
    }

    /// The same as [`next_fd`](Self::next_fd), with a duplicate of `fd`.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyOpenFiles`] (`EMFILE`) or [`Error::Duplicate`] (any other errno) if it
    /// cannot be duplicated.
    pub fn next_borrowed_fd(&mut self, fd: impl AsFd) -> Result<RawFd, Error> {
        let target = self.next_target();
        self.map_borrowed_fd(fd, target)?;
        Ok(target)
    }

    /// Sets what happens to all other descriptors from 3 up. The default is
    /// [`OtherFds::CloseOnExec`].
    pub fn other_fds(&mut self, others: OtherFds) -> &mut Self {
        self.others = others;
        self
    }

    /// Makes `command` give exactly these descriptors to every child that it spawns.
    ///
    /// The plan runs after `Command`'s own steps (standard streams, ids, working directory, process
    /// group), and in order with other `pre_exec` closures. A closure added later sees the final
    /// numbers.
    ///
    /// Until `command` is dropped, this process keeps the sources open. It also occupies every free
    /// target with a placeholder, and 0, 1 and 2 with `/dev/null` if they are closed. The returned
    /// [`Applied`] explains an error of `spawn`; you may ignore it.
    ///
    /// `CommandExt::exec`, which runs the program in place of this process, is refused
    /// ([`ChildFdsError::NotForked`](crate::ChildFdsError::NotForked)): if the exec failed, this
    /// process would continue with other files on its numbers. A process that ends anyway if its
    /// exec fails can install the plan itself, by [`prepare`](Self::prepare) and
    /// [`ChildFds::install`].
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyApplied`] for a second plan on one `command` (after a wait of one second),
    /// [`Error::TargetAboveLimit`], [`Error::StdioClosed`], [`Error::TooManyOpenFiles`] (`EMFILE`,
    /// `ENFILE`), [`Error::Duplicate`] (any other errno of fcntl(2)), [`Error::SharedPage`]
    /// (`ENOMEM`) and [`Error::WipedPage`] (`ENOMEM`, or what a seccomp filter answers to
    /// madvise(2)). Then `command` is unchanged.
    ///
    /// `spawn` reports errors of the child: see [`ChildFdsError`](crate::ChildFdsError).
    ///
    /// # Panics
    ///
    /// None.
    pub fn apply(self, command: &mut Command) -> Result<Applied, Error> {
        let mark = Registry::current()?.mark(command)?;
        let fds = self.prepare(ErrorChannel::Socket)?;
        let errors = Arc::new(ErrorPage::new()?);
        let closure = PlanClosure {
            fds,
            errors: Arc::clone(&errors),
            mark,
        };
        closure.attach(command);
        Ok(Applied::new(errors))
    }

    /// The parent's half, for a spawner that has its own child routine. It validates the plan,
    /// duplicates sources whose numbers other sources need, and reserves what `channel` needs. The
    /// child then calls [`ChildFds::install`].
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply), but for [`Error::AlreadyApplied`] and [`Error::SharedPage`].
    ///
    /// # Panics
    ///
    /// None.
    pub fn prepare(mut self, channel: ErrorChannel) -> Result<ChildFds, Error> {
        let standard = self.lift()?;
        let plan = FdPlan::resolve(
            self.entries
                .iter()
                .map(|(fd, target)| (fd.as_raw_fd(), *target)),
        )?;
        check_limit(&plan)?;

        let guarded = channel == ErrorChannel::Socket;
        let registry = Registry::current()?;
        let mut reservation = registry.reserve(if guarded { wanted(&plan) } else { Vec::new() })?;
        let parked = self.park(&plan)?;
        let targets = plan.steps().filter_map(|step| {
            let (number, from) = match step {
                Step::Park { .. } => return None,
                Step::Keep { fd } => (fd, None),
                Step::Duplicate {
                    from: Origin::Fd(from),
                    target,
                } => (target, Some(from)),
                Step::Duplicate {
                    from: Origin::Parked(source),
                    target,
                } => (target, parked.get(&source).map(AsRawFd::as_raw_fd)),
            };
            Some(Target::new(number, from, guarded))
        });
        let targets = targets.collect();
        let null_stdio = [0, 1, 2].map(|fd| guarded && !plan.is_target(fd) && registry.is_held(fd));
        reservation.keep_open(standard);
        reservation.keep_open(parked.into_values().map(Arc::new));
        reservation.keep_open(self.entries.into_iter().map(|(fd, _)| fd));
        Ok(ChildFds {
            others: self.others,
            guarded,
            targets,
            null_stdio,
            _reservation: reservation,
        })
    }

    /// Replaces each source on 0, 1 or 2 by a duplicate on a higher number, and returns the
    /// originals. A spawner puts the child's standard streams on these numbers before the plan
    /// runs, so the plan would otherwise duplicate one of those.
    fn lift(&mut self) -> Result<Vec<Arc<OwnedFd>>, Error> {
        let on_standard = self
            .entries
            .iter_mut()
            .filter(|(fd, _)| fd.as_raw_fd() < FIRST);
        on_standard
            .map(|(fd, _)| {
                let copy = duplicate(&*fd, FIRST)?;
                Ok(std::mem::replace(fd, Arc::new(copy)))
            })
            .collect()
    }

    /// Duplicates each source that is on another source's target to a number that is no target.
    fn park(&self, plan: &FdPlan) -> Result<BTreeMap<RawFd, OwnedFd>, Error> {
        let in_the_way = self
            .entries
            .iter()
            .filter(|(fd, _)| plan.is_parked(fd.as_raw_fd()));
        in_the_way
            .map(|(fd, _)| {
                let mut copy = duplicate(fd, FIRST)?;
                while plan.is_target(copy.as_raw_fd()) {
                    copy = duplicate(fd, copy.as_raw_fd().saturating_add(1))?;
                }
                Ok((fd.as_raw_fd(), copy))
            })
            .collect()
    }

    fn next_target(&self) -> RawFd {
        let mut next = FIRST;
        while self.targets.contains(&next) {
            next += 1;
        }
        next
    }

    fn check(&self, target: RawFd) -> Result<(), Error> {
        if target < 0 {
            Err(Error::NegativeTarget { target })
        } else if self.targets.contains(&target) {
            Err(Error::DuplicateTarget { target })
        } else {
            Ok(())
        }
    }
}

/// The first number after the standard streams.
const FIRST: RawFd = 3;

/// Makes a close-on-exec duplicate on the lowest free number from `min` up.
fn duplicate(fd: impl AsFd, min: RawFd) -> Result<OwnedFd, Error> {
    let fd = fd.as_fd();
    fcntl_dupfd_cloexec(fd, min).map_err(|errno| {
        // If `min` is at the soft limit, the kernel returns EINVAL for `min`. What is really
        // missing is a free number below the limit.
        let errno = if errno == Errno::INVAL {
            Errno::MFILE
        } else {
            errno
        };
        Error::duplicate(fd.as_raw_fd(), errno.into())
    })
}

/// dup3(2) to a number at or above the soft limit is EBADF. A number that is kept needs no dup3. If
/// the limit cannot be read, the child reports the error.
fn check_limit(plan: &FdPlan) -> Result<(), Error> {
    let limit = child::limits().map_or(u64::MAX, |limits| limits.rlim_cur);
    let above = |&target: &RawFd| u64::try_from(target).is_ok_and(|number| number >= limit);
    match plan
        .targets()
        .filter(|&target| !plan.is_kept(target))
        .find(above)
    {
        Some(target) => Err(Error::TargetAboveLimit { target, limit }),
        None => Ok(()),
    }
}

/// The numbers on which the spawner's error socket and pipes must not be: the standard streams, and
/// the targets that no source of the plan occupies anyway.
fn wanted(plan: &FdPlan) -> Vec<RawFd> {
    let above_stdio = plan
        .targets()
        .filter(|&target| target > 2 && !plan.is_kept(target));
    (0..=2).chain(above_stdio).collect()
}
