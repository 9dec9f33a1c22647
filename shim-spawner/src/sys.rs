//! System calls that rustix does not wrap, and everything unsafe outside the child's routine.

mod signals;

use std::io;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use pidfd_watcher::{Pid, Signal};
use rustix::io::Errno;

use crate::config::{self, ConfigError};

pub(crate) use signals::SignalsBlocked;

/// The configuration that the spawner passed by [`ShimSpawner::config`](crate::ShimSpawner::config).
/// `Ok(None)`: it passed none.
///
/// Reads it once: the descriptor is closed afterwards.
///
/// # Errors
/// A typed [`ConfigError`] that names the descriptor; nothing was closed or changed then.
/// [`ConfigError::Stale`] and [`ConfigError::NotOpen`] are what a program sees that merely inherited the
/// variable, and what a second call sees.
///
/// # Safety
/// Takes ownership of the descriptor number in the variable. Sound if nothing else in this process owns
/// that number: call it early in `main`, before any other inherited descriptor is adopted. That the number
/// is the very memory file the variable was written for is checked.
///
/// # References
/// [memfd_create(2)](https://man7.org/linux/man-pages/man2/memfd_create.2.html)
pub unsafe fn shim_config() -> Result<Option<Vec<u8>>, ConfigError> {
    config::from_environment(|number| {
        // SAFETY: `config` calls this for a number that it found open as the sealed memory file which
        // the variable names; that no one else owns it is our caller's promise.
        unsafe { OwnedFd::from_raw_fd(number) }
    })
}

/// Device and inode of a number that we do not own. `EBADF` when it is not open.
pub(crate) fn inspect(number: RawFd) -> io::Result<(u64, u64)> {
    // The 64-bit structure on every architecture: fstat has half an inode's number on some, and fails for larger ones.
    let mut stat = MaybeUninit::<libc::stat64>::uninit();
    // SAFETY: `stat` has room for what fstat64 writes; a number that is not open is only an error.
    if unsafe { libc::fstat64(number, stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fstat64 answered 0, so it has filled the structure.
    let stat = unsafe { stat.assume_init() };
    Ok((stat.st_dev, stat.st_ino))
}

/// A descriptor that is closed by the system call itself.
///
/// Async-signal-safe: the C library's close(3) is a point at which a thread may be cancelled, and a child that shares
/// memory would act on the cancellation of its parent's thread.
#[derive(Debug)]
pub(crate) struct Descriptor(ManuallyDrop<OwnedFd>);

impl Descriptor {
    pub(crate) fn new(fd: OwnedFd) -> Descriptor {
        Descriptor(ManuallyDrop::new(fd))
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: `self` owns the number, and the owner inside is never dropped, so that it is closed once.
        unsafe { libc::syscall(libc::SYS_close, self.0.as_raw_fd()) };
    }
}

/// The pid of this process in its own PID namespace, asked so that a filter's refusal is an error and no number.
///
/// Async-signal-safe.
pub(crate) fn own_pid() -> Result<Pid, Errno> {
    // SAFETY: takes no pointer.
    let pid = unsafe { libc::syscall(libc::SYS_getpid) };
    match i32::try_from(pid) {
        Ok(pid @ 1..) => Pid::from_raw(pid).ok_or(Errno::SRCH),
        _ => Err(last_errno()),
    }
}

/// The effective user of this process.
pub(crate) fn effective_user() -> Result<u32, Errno> {
    // SAFETY: takes no pointer.
    let user = unsafe { libc::geteuid() };
    // The C library hands an error of the kernel's on as it is: -4095 to -1.
    match user.cast_signed() {
        errno @ -4095..=-1 => Err(Errno::from_raw_os_error(-errno)),
        _ => Ok(user),
    }
}

/// Whether nobody has reaped the process behind `pidfd`: `ESRCH` otherwise. Nothing is sent.
pub(crate) fn check_unreaped(pidfd: BorrowedFd<'_>) -> Result<(), Errno> {
    let (fd, nothing) = (pidfd.as_raw_fd(), ptr::null::<libc::siginfo_t>());
    // SAFETY: signal 0 is none at all; a null pointer stands for no information.
    match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, 0, nothing, 0) } {
        -1 => match last_errno() {
            // There, and not ours to signal.
            Errno::PERM => Ok(()),
            errno => Err(errno),
        },
        _ => Ok(()),
    }
}

/// A signal by its number; `None` for what is no signal, and for the numbers that the C library keeps to itself.
pub(crate) fn signal_from_raw(number: i32) -> Option<Signal> {
    Signal::from_named_raw(number).or_else(|| {
        (libc::SIGRTMIN()..=libc::SIGRTMAX())
            .contains(&number)
            .then(|| {
                // SAFETY: a real-time signal that the C library leaves to programs.
                unsafe { Signal::from_raw_unchecked(number) }
            })
    })
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::NOSYS)
}

/// A limit of this process.
pub(crate) enum Limit {
    /// One more than the highest number a descriptor can have.
    OpenFiles,
    /// Of a file, in bytes.
    FileSize,
}

/// The soft limit; `None` where a seccomp filter hides it. Not by rustix, which takes no answer but the limits.
pub(crate) fn soft_limit(limit: &Limit) -> Option<u64> {
    let resource = match limit {
        Limit::OpenFiles => libc::RLIMIT_NOFILE,
        Limit::FileSize => libc::RLIMIT_FSIZE,
    };
    let mut limits = MaybeUninit::<libc::rlimit64>::uninit();
    // SAFETY: pid 0 is the caller; the kernel reads no new limits (null), and `limits` has room for what it writes.
    let done = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            ptr::null::<libc::rlimit64>(),
            limits.as_mut_ptr(),
        )
    };
    // SAFETY: the call answered 0, so it has filled the structure.
    (done == 0).then(|| unsafe { limits.assume_init() }.rlim_cur)
}
