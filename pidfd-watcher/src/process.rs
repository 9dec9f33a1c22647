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

/// A handle on one process, which stays that process's own when its number goes to another.
///
/// It owns a [pidfd](https://man7.org/linux/man-pages/man2/pidfd_open.2.html). A clone shares the
/// descriptor and costs none. Dropping the last clone closes it, and does nothing to the process:
/// it is neither killed nor reaped.
///
/// # When a process has exited
///
/// When all of its threads have ended; that the main thread alone ended is no exit. A process
/// that is dead and not reaped yet (a zombie) has exited, and so has one that a debugger keeps from
/// being reaped.
///
/// # Where the status comes from
///
/// In this order, and [`Exit::status`] is `None` when none of them knows:
///
/// 1. what an earlier call on this handle or a clone of it has learned;
/// 2. [`waitid`](https://man7.org/linux/man-pages/man2/waitid.2.html), for a child of this process;
///    it stays reapable;
/// 3. since Linux 6.15 the pidfd itself (`PIDFD_GET_INFO`), for any process of this PID namespace
///    or one below it, once it was reaped by whomever;
/// 4. [`/proc/PID/stat`](https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html), for a zombie
///    that is not ours to wait for, with the permission to trace it.
///
/// Before Linux 5.17, 2 and 4 show how the first thread ended, which may have been before the
/// others, and with another code. They are believed there only where that makes no difference:
/// about a process that a signal has ended, other than the signals that dump core (about those only
/// where there was a dump). All other statuses come from the reaping, by [`reap`](Process::reap) or
/// [`watch_and_reap`](crate::Watcher::watch_and_reap); until then they are `None`. The kernel's
/// release (`uname`) tells which it is; a kernel that was mended by its distributor alone, and one
/// whose release is hidden, count as older.
///
/// With `SIGCHLD` ignored, or `SA_NOCLDWAIT`, the kernel reaps children by itself: their status is
/// known since Linux 6.15, and usually `None` before.
///
/// # When two handles are equal
///
/// When they name the same process, whoever has its number: since Linux 6.9, by the inode of the
/// pidfd, which is unique as long as the system runs. Before that, and on 32-bit systems, nothing
/// tells it, and a handle is equal to its clones alone. Nothing that a handle learns later changes
/// that, so it may be a key in a map, whatever `clippy::mutable_key_type` thinks of it.
///
/// # Forks
///
/// A copy of the handle in a forked child names the same process, which is no child of the fork:
/// it waits and signals, and the status is that of a stranger (3 and 4).
#[derive(Clone)]
pub struct Process(Arc<Inner>);

struct Inner {
    pidfd: OwnedFd,
    pid: Pid,
    /// What has been learned of the status: it is for all clones, and outlives the zombie.
    status: CachedStatus,
    inode: CachedInode,
    turn: Turn,
}

impl Process {
    /// Opens the process that has the number `pid` at this moment.
    ///
    /// Between learning a number and opening it, the process may end and the number go to another:
    /// only for an unreaped child of your own is this free of that race. For a
    /// [`Child`] use [`from_child`](Process::from_child).
    ///
    /// Linux 5.3; [pidfd_open(2)](https://man7.org/linux/man-pages/man2/pidfd_open.2.html).
    ///
    /// # Errors
    ///
    /// - [`NotFound`](Error::NotFound): no process has that number (`ESRCH`; `EINVAL` or `ENOENT`
    ///   when it is that of a thread, or of a process being reaped).
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

    /// Opens a child that `std` spawned, alive or a zombie. The child stays reapable, by
    /// [`Child::wait`] or by [`reap`](Process::reap): by one of them, not both.
    ///
    /// Do this before any wait on `child`. One that was waited for has lost its number, and `std`
    /// does not tell: here that is an error, except when the number has meanwhile gone to another
    /// unreaped child of this process.
    ///
    /// # Errors
    ///
    /// - [`NotChild`](Error::NotChild): it is not ours to wait for any more. It was reaped, or died
    ///   with `SIGCHLD` ignored (`ESRCH`, `ECHILD`).
    /// - All others of [`open`](Process::open).
    pub fn from_child(child: &mut Child) -> Result<Process, Error> {
        let process = Process::open(Pid::from_child(child)).map_err(|error| match error {
            Error::NotFound(cause) => Error::NotChild(cause),
            other => other,
        })?;
        // The number may have gone to a stranger between a reaping and our opening it.
        process.check_is_ours()?;
        Ok(process)
    }

    /// Whether it is a child of this process that was not reaped yet: else `NotChild`.
    pub(crate) fn check_is_ours(&self) -> Result<(), Error> {
        status::is_ours(self.as_fd()).map_err(Error::of_wait)
    }

    /// Takes over a pidfd that came from elsewhere: `clone`, a socket, a parent process. It is made
    /// close-on-exec; one opened with `PIDFD_NONBLOCK` is as good as any other.
    ///
    /// The number of the process comes from the kernel since Linux 6.13, and from `/proc` before.
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

    /// Takes the two numbers that `clone` with `CLONE_PIDFD` gave its caller, with no system call
    /// and no way to fail: a child that has exited, or that the kernel has reaped by itself
    /// already, is as good.
    ///
    /// Linux 5.2; [clone(2)](https://man7.org/linux/man-pages/man2/clone.2.html).
    ///
    /// # Safety
    ///
    /// Both must come from one call of `clone` or `clone3` of this process; `pidfd` may be a
    /// duplicate. Whoever reads [`pid`](Process::pid) takes it for the number of the process behind
    /// `pidfd`.
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

    /// The number of the process in the PID namespace in which the handle was made.
    ///
    /// For messages. Once the process was reaped the number may be another's, so signal with
    /// [`send_signal`](Process::send_signal), not with the number.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.0.pid
    }

    /// Sends `signal` to this process, and never to another that took over its number. A zombie
    /// takes any signal, to no effect.
    ///
    /// Linux 5.1;
    /// [pidfd_send_signal(2)](https://man7.org/linux/man-pages/man2/pidfd_send_signal.2.html).
    ///
    /// # Errors
    ///
    /// - [`NotFound`](Error::NotFound): it was reaped (`ESRCH`).
    /// - [`PermissionDenied`](Error::PermissionDenied): it exists, and is not ours to signal
    ///   (`EPERM`), or a seccomp filter refused.
    /// - [`Io`](Error::Io): it lives in a PID namespace that is not below ours (`EINVAL`).
    pub fn send_signal(&self, signal: Signal) -> Result<(), Error> {
        pidfd_send_signal(self, signal).map_err(Error::of_signal)
    }

    /// The line of [`/proc/PID/stat`][stat] of this process and no other: it is read between two
    /// looks that show the process unreaped. [`proc_stat_field`](crate::proc_stat_field) takes it
    /// apart.
    ///
    /// It needs no permission to trace or to signal the process. Any PID namespace will do, as long
    /// as `/proc` shows the process. A process that gave up privileges since its exec may not read
    /// its own `/proc/self/fdinfo` on some kernels (Linux 5.10); there `/proc` has to show this
    /// process's own PID namespace.
    ///
    /// # Errors
    ///
    /// - `ESRCH`: the process was reaped, before this call or during it.
    /// - [`NotFound`](io::ErrorKind::NotFound),
    ///   [`PermissionDenied`](io::ErrorKind::PermissionDenied): `/proc` is missing, or hides the
    ///   process (`hidepid`).
    /// - `EMFILE`, `ENFILE`: no descriptor is left to read `/proc` with.
    ///
    /// [stat]: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    pub fn proc_stat(&self) -> io::Result<Vec<u8>> {
        proc_stat::read(self.as_fd(), self.pid())
    }

    /// How the process ended, or `None` while it lives. Never blocks, never reaps.
    ///
    /// # Errors
    ///
    /// - [`Io`](Error::Io) when the kernel cannot poll the descriptor (`ENOMEM`, `EBADF`).
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

    /// Waits no longer than `timeout`, measured on the monotonic clock; `None` when the process
    /// outlived it. Zero looks once, and a timeout beyond what the clock can count is none.
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

    /// Reaps, and notes the status before any clone can see that the child is gone.
    pub(crate) fn collect(&self) -> Result<Option<i32>, Errno> {
        let _turn = self.0.turn.take();
        let raw = status::reap(self.as_fd())?;
        if let Some(raw) = raw {
            self.0.status.set(status::Status { raw, ours: true });
        }
        Ok(raw)
    }

    /// The same, with what the child has used.
    pub(crate) fn collect_with_usage(&self) -> Result<Option<(i32, RawUsage)>, Errno> {
        let _turn = self.0.turn.take();
        let collected = status::reap_with_usage(self.as_fd())?;
        if let Some((raw, _)) = collected {
            self.0.status.set(status::Status { raw, ours: true });
        }
        Ok(collected)
    }

    /// The descriptor itself, close-on-exec. A handle that has clones, or is watched, gives a
    /// duplicate of it.
    ///
    /// A pidfd that [`from_pidfd`](Process::from_pidfd) takes over again knows no status that was
    /// learned before.
    ///
    /// # Errors
    ///
    /// [`TooManyOpenFiles`](Error::TooManyOpenFiles) (`EMFILE`): no number is left for the
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

    /// A watcher is to reap it: whoever is told by the kernel that it is gone knows then that it
    /// was ours.
    pub(crate) fn take_charge(&self) -> Result<(), Error> {
        self.check_is_ours()?;
        self.0.status.set_ours();
        Ok(())
    }

    /// What is known of the status, asking the kernel only while it is not. The process has exited.
    pub(crate) fn learn(&self) -> Option<status::Status> {
        self.0.status.get().or_else(|| {
            if let Some(found) = status::find(self.as_fd()) {
                self.0.status.set(found);
            }
            // Perhaps not what was found: another clone, which looked while it was a zombie, knows
            // better.
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
        // An error: reaped by somebody else (ECHILD), or refused. There is nothing to wait for.
        !matches!(self.collect(), Ok(None))
    }
}

/// Readable once the process has exited, for ever after; for an event loop. Use it edge-triggered,
/// or take it out once it fired: it cannot be emptied.
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
