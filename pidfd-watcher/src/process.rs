use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::{Errno, FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::cached_status::CachedStatus;
use crate::inode::CachedInode;
use crate::poll::{self, Until};
use crate::registry::Subject;
use crate::sys::RawUsage;
use crate::turn::Turn;
use crate::{Error, Exit, identify, proc_stat, status};

/// A handle on one process. It stays with that process even when the pid goes to another.
///
/// It owns a [pidfd](https://man7.org/linux/man-pages/man2/pidfd_open.2.html). A clone shares the
/// descriptor and needs no new one. Dropping the last clone closes it, and does nothing to the
/// process: it is neither killed nor reaped.
///
/// # When a process has exited
///
/// A process has exited when all of its threads have ended. The end of the main thread alone is no
/// exit. A process that is dead and not reaped yet (a zombie) has exited. So has one that a
/// debugger keeps from being reaped.
///
/// # Where the status comes from
///
/// From these sources, in this order. [`Exit::status`] is `None` if none of them knows it.
///
/// 1. What an earlier call on this handle or on a clone of it has learned.
/// 2. [`waitid`](https://man7.org/linux/man-pages/man2/waitid.2.html), for a child of this process.
///    The child stays reapable.
/// 3. Since Linux 6.15 the pidfd itself (`PIDFD_GET_INFO`), for any process of this PID namespace
///    or one below it, once any process has reaped it.
/// 4. [`/proc/PID/stat`](https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html), for a zombie
///    that is not ours to wait for, with the permission to trace it.
///
/// Before Linux 5.17, sources 2 and 4 show how the first thread ended. That thread may have ended
/// before the others, and with another code. So on such kernels they are used only where this makes
/// no difference: if a signal ended the process. Signals that dump core count only if there was a
/// dump. All other statuses come from the reap, by [`reap`](Process::reap) or
/// [`watch_and_reap`](crate::Watcher::watch_and_reap), and are `None` until then. The kernel's
/// release (`uname`) decides. A kernel to which only its distributor added the fix, and one whose
/// release is hidden, count as older.
///
/// If `SIGCHLD` is ignored, or with `SA_NOCLDWAIT`, the kernel reaps children itself. Their status
/// is known since Linux 6.15, and usually `None` before.
///
/// # When two handles are equal
///
/// Two handles are equal if they name the same process. Since Linux 6.9 this is decided by the
/// inode of the pidfd, which is unique as long as the system runs. Before that, and on 32-bit
/// systems, nothing tells it, and a handle is equal only to its clones. Nothing that a handle
/// learns later changes equality. So a handle may be a key in a map, despite the lint
/// `clippy::mutable_key_type`.
///
/// # Forks
///
/// A copy of the handle in a forked child names the same process, which is not a child of the
/// forked process. The copy can wait and signal. It gets the status as for a process that is not
/// its child (3 and 4).
#[derive(Clone)]
pub struct Process(Arc<Inner>);

struct Inner {
    pidfd: OwnedFd,
    pid: Pid,
    /// The status, once learned. All clones share it, and it outlives the zombie.
    status: CachedStatus,
    inode: CachedInode,
    turn: Turn,
}

impl Process {
    /// Opens the process that has the pid `pid` at this moment.
    ///
    /// The process may end between the time when you learn its pid and the time when you open it,
    /// and the pid may go to another process. This race cannot occur only for an unreaped child of
    /// your own. For a [`Child`] use [`from_child`](Process::from_child).
    ///
    /// Linux 5.3; [pidfd_open(2)](https://man7.org/linux/man-pages/man2/pidfd_open.2.html).
    ///
    /// # Errors
    ///
    /// - [`NotFound`](Error::NotFound): no process has that pid (`ESRCH`; `EINVAL` or `ENOENT` if
    ///   it is the number of a thread, or of a process that is being reaped).
    /// - [`TooManyOpenFiles`](Error::TooManyOpenFiles) (`EMFILE`, `ENFILE`).
    /// - [`Unsupported`](Error::Unsupported) (`ENOSYS`),
    ///   [`PermissionDenied`](Error::PermissionDenied) (`EPERM`): an older kernel, or a seccomp
    ///   filter.
    /// - [`Io`](Error::Io): `ENOMEM`, `ENODEV`.
    // Inlined: see `Watcher::register`.
    #[inline]
    pub fn open(pid: Pid) -> Result<Process, Error> {
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).map_err(Error::of_open)?;
        Ok(Process::new(pidfd, pid))
    }

    /// Opens a child that `std` spawned, alive or a zombie. The child stays reapable, either by
    /// [`Child::wait`] or by [`reap`](Process::reap), but not by both.
    ///
    /// Call this before any wait on `child`. A child that was waited for has lost its pid, and
    /// `std` does not report that. This function reports it as an error, unless the pid has
    /// meanwhile gone to another unreaped child of this process.
    ///
    /// # Errors
    ///
    /// - [`NotChild`](Error::NotChild): this process cannot wait for it any more. It was reaped, or
    ///   it died while `SIGCHLD` was ignored (`ESRCH`, `ECHILD`).
    /// - All others of [`open`](Process::open).
    pub fn from_child(child: &mut Child) -> Result<Process, Error> {
        let process = Process::open(Pid::from_child(child)).map_err(|error| match error {
            Error::NotFound(cause) => Error::NotChild(cause),
            other => other,
        })?;
        // The pid may have gone to a stranger between a reap and our opening it.
        process.check_is_ours()?;
        Ok(process)
    }

    /// Returns `NotChild` unless it is a child of this process that has not been reaped.
    pub(crate) fn check_is_ours(&self) -> Result<(), Error> {
        status::is_ours(self.as_fd()).map_err(Error::of_wait)
    }

    /// Takes over a pidfd that came from elsewhere: `clone`, a socket, a parent process. Makes it
    /// close-on-exec. A pidfd with `PIDFD_NONBLOCK` works as well as any other.
    ///
    /// The pid comes from the kernel since Linux 6.13, and from `/proc` before.
    ///
    /// # Errors
    ///
    /// - [`NotPidfd`](Error::NotPidfd): it is some other descriptor, or a pidfd of a single thread
    ///   (`PIDFD_THREAD`).
    /// - [`NotFound`](Error::NotFound): the process was reaped, or lives outside this PID namespace
    ///   (`ESRCH`; since Linux 6.18 also `EREMOTE`).
    /// - [`Unsupported`](Error::Unsupported): before 6.13, without a `/proc` of this PID namespace.
    pub fn from_pidfd(pidfd: OwnedFd) -> Result<Process, Error> {
        let pid = identify::pid_of(pidfd.as_fd())?;
        fcntl_setfd(&pidfd, FdFlags::CLOEXEC).map_err(Error::of_call)?;
        Ok(Process::new(pidfd, pid))
    }

    /// Takes the pidfd and the pid that `clone` with `CLONE_PIDFD` returned. This makes no system
    /// call and cannot fail. It also works for a child that has exited, or that the kernel has
    /// already reaped itself.
    ///
    /// Linux 5.2; [clone(2)](https://man7.org/linux/man-pages/man2/clone.2.html).
    ///
    /// # Safety
    ///
    /// Both must come from one call of `clone` or `clone3` in this process. `pidfd` may be a
    /// duplicate. Callers of [`pid`](Process::pid) rely on it that the number belongs to the
    /// process behind `pidfd`.
    #[must_use]
    #[allow(
        unsafe_code,
        reason = "the two numbers are one process's by the promise of its caller"
    )]
    pub unsafe fn from_clone(pidfd: OwnedFd, pid: Pid) -> Process {
        Process::new(pidfd, pid)
    }

    #[inline]
    pub(crate) fn new(pidfd: OwnedFd, pid: Pid) -> Process {
        Process(Arc::new(Inner {
            pidfd,
            pid,
            status: CachedStatus::default(),
            inode: CachedInode::default(),
            turn: Turn::new(),
        }))
    }

    /// The pid, in the PID namespace in which the handle was made.
    ///
    /// Use it for messages only. Once the process is reaped, the number may belong to another
    /// process. To signal it, use [`send_signal`](Process::send_signal), not this number.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.0.pid
    }

    /// Sends `signal` to this process, and never to another one that got its pid. A zombie accepts
    /// any signal, without effect.
    ///
    /// Linux 5.1;
    /// [pidfd_send_signal(2)](https://man7.org/linux/man-pages/man2/pidfd_send_signal.2.html).
    ///
    /// # Errors
    ///
    /// - [`NotFound`](Error::NotFound): the process was reaped (`ESRCH`).
    /// - [`PermissionDenied`](Error::PermissionDenied): it exists, but this process may not signal
    ///   it (`EPERM`), or a seccomp filter refused.
    /// - [`Io`](Error::Io): it is in a PID namespace that is not below ours (`EINVAL`).
    pub fn send_signal(&self, signal: Signal) -> Result<(), Error> {
        pidfd_send_signal(self, signal).map_err(Error::of_signal)
    }

    /// The line of [`/proc/PID/stat`][stat] of this process, and of no other: before and after
    /// reading it, this checks that the process has not been reaped.
    /// [`proc_stat_field`](crate::proc_stat_field) extracts its fields.
    ///
    /// This needs no permission to trace or to signal the process. It works in any PID namespace,
    /// as long as `/proc` shows the process. On some kernels (Linux 5.10), a process that gave up
    /// privileges since its exec may not read its own `/proc/self/fdinfo`. There `/proc` has to
    /// show this process's own PID namespace.
    ///
    /// # Errors
    ///
    /// - `ESRCH`: the process was reaped, before this call or during it.
    /// - [`NotFound`](io::ErrorKind::NotFound),
    ///   [`PermissionDenied`](io::ErrorKind::PermissionDenied): `/proc` is missing, or hides the
    ///   process (`hidepid`).
    /// - `EMFILE`, `ENFILE`: no free descriptor to read `/proc`.
    ///
    /// [stat]: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    pub fn proc_stat(&self) -> io::Result<Vec<u8>> {
        proc_stat::read(self.as_fd(), self.pid())
    }

    /// How the process ended, or `None` while it lives. Never blocks, never reaps.
    ///
    /// # Errors
    ///
    /// - [`Io`](Error::Io) if the kernel cannot poll the descriptor (`ENOMEM`, `EBADF`).
    /// - [`PermissionDenied`](Error::PermissionDenied), [`Unsupported`](Error::Unsupported): a
    ///   seccomp filter.
    pub fn try_wait(&self) -> Result<Option<Exit>, Error> {
        self.wait_until(Until::Now)
    }

    /// Waits until the process has exited. Never reaps: any number of clones and callers may wait.
    ///
    /// Works for any process, child or not, and needs no permission. A signal that interrupts the
    /// wait does not end it.
    ///
    /// # Errors
    ///
    /// As [`try_wait`](Process::try_wait).
    pub fn wait(&self) -> Result<Exit, Error> {
        loop {
            if let Some(exit) = self.wait_until(Until::Exit)? {
                return Ok(exit);
            }
        }
    }

    /// Waits at most for `timeout`, on the monotonic clock. `None` if the process is still alive
    /// then. Zero looks once. A timeout that is too long for the clock means no timeout.
    ///
    /// # Errors
    ///
    /// As [`try_wait`](Process::try_wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<Option<Exit>, Error> {
        self.wait_until(Until::after(timeout).map_err(Error::of_call)?)
    }

    fn wait_until(&self, until: Until) -> Result<Option<Exit>, Error> {
        Ok(self.has_exited(until)?.then(|| self.exit()))
    }

    pub(crate) fn has_exited(&self, until: Until) -> Result<bool, Error> {
        poll::exited(self.as_fd(), until).map_err(Error::of_call)
    }

    /// Reaps, and records the status before any clone can see that the child is gone.
    pub(crate) fn collect(&self) -> Result<Option<i32>, Errno> {
        let _turn = self.0.turn.take();
        let raw = status::reap(self.as_fd())?;
        if let Some(raw) = raw {
            self.0.status.set(status::Status { raw, ours: true });
        }
        Ok(raw)
    }

    /// The same, with the resource usage of the child.
    pub(crate) fn collect_with_usage(&self) -> Result<Option<(i32, RawUsage)>, Errno> {
        let _turn = self.0.turn.take();
        let collected = status::reap_with_usage(self.as_fd())?;
        if let Some((raw, _)) = collected {
            self.0.status.set(status::Status { raw, ours: true });
        }
        Ok(collected)
    }

    /// Returns the descriptor itself, which is close-on-exec. If the handle has clones, or is
    /// watched, it returns a duplicate.
    ///
    /// If you give that pidfd to [`from_pidfd`](Process::from_pidfd) again, the new handle does not
    /// know a status that was learned before.
    ///
    /// # Errors
    ///
    /// [`TooManyOpenFiles`](Error::TooManyOpenFiles) (`EMFILE`): no descriptor is free for the
    /// duplicate.
    pub fn into_owned_fd(self) -> Result<OwnedFd, Error> {
        match Arc::try_unwrap(self.0) {
            Ok(inner) => Ok(inner.pidfd),
            Err(shared) => fcntl_dupfd_cloexec(&shared.pidfd, 0).map_err(Error::of_call),
        }
    }

    /// The report of a process that has exited.
    fn exit(&self) -> Exit {
        let status = self.learn().map(|status| ExitStatus::from_raw(status.raw));
        Exit {
            pid: self.pid(),
            status,
        }
    }

    /// Called when a watcher is going to reap it. From then on, whoever finds the process gone
    /// knows that it was our child.
    pub(crate) fn take_charge(&self) -> Result<(), Error> {
        self.check_is_ours()?;
        self.0.status.set_ours();
        Ok(())
    }

    /// The status, as far as it is known. Asks the kernel only while it is not known. The process
    /// must have exited.
    pub(crate) fn learn(&self) -> Option<status::Status> {
        self.0.status.get().or_else(|| {
            if let Some(found) = status::find(self.as_fd()) {
                self.0.status.set(found);
            }
            // This may differ from what was found: another clone, which looked while it was a
            // zombie, may know more.
            self.0.status.get()
        })
    }
}

/// How a watcher sees a process.
impl Subject for Process {
    fn number(&self) -> RawFd {
        self.0.pidfd.as_raw_fd()
    }

    fn pid(&self) -> Pid {
        self.0.pid
    }

    fn exit(&self) -> Exit {
        Process::exit(self)
    }

    fn reap(&self) -> bool {
        // An error means that somebody else reaped it (ECHILD), or that the call was refused. In
        // either case there is nothing to wait for.
        !matches!(self.collect(), Ok(None))
    }
}

/// Readable for ever once the process has exited; for use in an event loop. Register it
/// edge-triggered, or remove it when it has fired, because it cannot be drained.
impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.pidfd.as_fd()
    }
}

/// See [when two handles are equal](Process#when-two-handles-are-equal).
impl PartialEq for Process {
    fn eq(&self, other: &Process) -> bool {
        let inode = |process: &Process| process.0.inode.get(process.as_fd());
        Arc::ptr_eq(&self.0, &other.0)
            || inode(self).is_some_and(|inode_of_self| inode(other) == Some(inode_of_self))
    }
}

impl Eq for Process {}

impl Hash for Process {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.0.inode.get(self.as_fd()) {
            Some(inode) => inode.hash(state),
            None => Arc::as_ptr(&self.0).hash(state),
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("pid", &self.0.pid)
            .field("pidfd", &self.0.pidfd)
            .finish()
    }
}
