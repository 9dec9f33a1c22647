//! A child with a handle from birth, and what runs in it.

use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{Error, Pid, Process, sys};

/// What a Rust program ends with when its main thread panics.
const PANICKED: i32 = 101;

impl Process {
    /// Forks: the child runs `child` and ends with the exit code it gives, by `_exit`; here comes the handle.
    ///
    /// The kernel makes the pidfd together with the child (`CLONE_PIDFD`), so that not even a child which is gone at
    /// once, or reaped by another part of the program, can be taken for another. It is close-on-exec, and the
    /// child has no copy of it.
    ///
    /// This is the bare system call, for whoever needs a copy of this process and no other program. The C library does not
    /// hear of it: its `pthread_atfork` handlers do not run. To start a program, use `std::process::Command`.
    ///
    /// A panic in `child` ends it with 101; it does not unwind into the copy of the caller.
    ///
    /// # Safety
    ///
    /// In the child only the calling thread exists. If this process has others, `child` may do only what is
    /// async-signal-safe: locks that others held, the allocator's among them, stay locked for ever. It must not
    /// return to what the caller holds elsewhere: it ends here. What it drops is dropped in the copy alone.
    ///
    /// # Errors
    ///
    /// No child is left.
    /// - [`TooManyOpenFiles`](Error::TooManyOpenFiles) (`EMFILE`, `ENFILE`).
    /// - [`TooManyProcesses`](Error::TooManyProcesses) (`EAGAIN`).
    /// - [`PermissionDenied`](Error::PermissionDenied), [`Unsupported`](Error::Unsupported): a seccomp filter.
    /// - [`Io`](Error::Io): `ENOMEM`.
    ///
    /// # References
    ///
    /// [clone(2)](https://man7.org/linux/man-pages/man2/clone.2.html), `CLONE_PIDFD` (Linux 5.2);
    /// [signal-safety(7)](https://man7.org/linux/man-pages/man7/signal-safety.7.html)
    pub unsafe fn fork(child: impl FnOnce() -> i32) -> Result<Process, Error> {
        let mut pidfd: RawFd = -1;
        // SAFETY: our caller answers for what the child does in its copy of this process.
        let made = unsafe { clone(&mut pidfd) };
        if made == 0 {
            run(child);
        }
        // -1 must not come near Pid::from_raw, which takes it for a number in a release build and panics in others.
        let pid = i32::try_from(made).ok().filter(|&pid| pid > 0);
        match pid.and_then(Pid::from_raw) {
            // SAFETY: the call succeeded, so the kernel has put a descriptor there that is new and nobody else's.
            Some(pid) => Ok(Process::new(unsafe { OwnedFd::from_raw_fd(pidfd) }, pid)),
            None => Err(Error::of_clone(sys::errno())),
        }
    }
}

/// In the forked child: runs the caller's closure and ends.
fn run(child: impl FnOnce() -> i32) -> ! {
    // To unwind further would run the destructors of the caller's copy: its temporary files are the parent's.
    let code = catch_unwind(AssertUnwindSafe(child)).unwrap_or_else(|payload| {
        std::mem::forget(payload);
        PANICKED
    });
    // SAFETY: ends the process; no handler or destructor runs that belongs to the parent.
    unsafe { libc::_exit(code) }
}

/// Forks by the bare system call; returns twice, as fork does.
///
/// # Safety
///
/// As [`Process::fork`].
unsafe fn clone(pidfd: &mut RawFd) -> libc::c_long {
    let flags = libc::c_long::from(libc::CLONE_PIDFD | libc::SIGCHLD);
    let no_stack: libc::c_long = 0;
    let pidfd: *mut RawFd = pidfd;
    let (unused_tid, unused_tls): (libc::c_long, libc::c_long) = (0, 0);
    // The one architecture that takes the stack first; the others differ in the last two, which are not used.
    #[cfg(target_arch = "s390x")]
    let (first, second) = (no_stack, flags);
    #[cfg(not(target_arch = "s390x"))]
    let (first, second) = (flags, no_stack);
    // SAFETY: neither memory nor stack is shared, so the child goes on in a copy of this very frame. The kernel
    // writes to one pointer, which is valid, before either side returns.
    unsafe {
        libc::syscall(
            libc::SYS_clone,
            first,
            second,
            pidfd,
            unused_tid,
            unused_tls,
        )
    }
}
