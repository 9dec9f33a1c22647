//! A forked child with a handle, and how a copy of this process ends.

mod gate;

use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use rustix::io::retry_on_intr;
use rustix::process::{WaitOptions, waitpid};

use crate::child::gate::Gate;
use crate::{Error, Pid, Process, status, sys};

/// What a Rust program ends with when its main thread panics.
const PANICKED: i32 = 101;

impl Process {
    /// Forks: the child runs `child` and ends with the exit code it gives, by `_exit`; here comes the handle.
    ///
    /// The child is held back until the handle is open. So even a child that ends at once cannot be reaped before by
    /// another part of the program, or by the kernel where `SIGCHLD` is ignored, and its number cannot go to another
    /// process. The pidfd is close-on-exec, and the child has no copy of it.
    ///
    /// This is the C library's `fork`: its `pthread_atfork` handlers run, and the child has thread ids and an allocator
    /// that work. To start a program, use `std::process::Command`.
    ///
    /// A panic in `child` ends it with 101; it does not unwind into the copy of the caller.
    ///
    /// # Safety
    ///
    /// In the child only the calling thread exists. If this process has others, `child` may do only what is
    /// async-signal-safe: locks that others held stay locked for ever. (glibc takes care of its allocator's.) It must not
    /// return to what the caller holds elsewhere: it ends here. What it drops is dropped in the copy alone.
    ///
    /// # Errors
    ///
    /// `child` has not run, and no process is left.
    /// - [`TooManyOpenFiles`](Error::TooManyOpenFiles) (`EMFILE`, `ENFILE`).
    /// - [`TooManyProcesses`](Error::TooManyProcesses) (`EAGAIN`).
    /// - [`PermissionDenied`](Error::PermissionDenied), [`Unsupported`](Error::Unsupported): a seccomp filter.
    /// - [`NotChild`](Error::NotChild) (`ESRCH`, `ECHILD`): somebody killed it at once, and it was reaped by another part
    ///   of the program, or by the kernel since `SIGCHLD` is ignored.
    /// - [`Io`](Error::Io): `ENOMEM`.
    ///
    /// # References
    ///
    /// [fork(2)](https://man7.org/linux/man-pages/man2/fork.2.html),
    /// [pidfd_open(2)](https://man7.org/linux/man-pages/man2/pidfd_open.2.html) (Linux 5.3);
    /// [signal-safety(7)](https://man7.org/linux/man-pages/man7/signal-safety.7.html)
    pub unsafe fn fork(child: impl FnOnce() -> i32) -> Result<Process, Error> {
        let gate = Gate::closed().map_err(Error::of_call)?;
        // Not the bare system call. It leaves the parent's thread id in the C library's structures, so that
        // pthread_setaffinity_np in the child would change the parent, and it leaves the allocator's locks as they are.
        // SAFETY: our caller answers for what the child does in its copy of this process.
        let forked = unsafe { libc::fork() };
        if forked == 0 {
            if gate.wait() {
                run(child);
            }
            end_copy();
        }
        // -1 must not come near Pid::from_raw, which takes it for a number in a release build and panics in others.
        let Some(pid) = Some(forked).filter(|&pid| pid > 0).and_then(Pid::from_raw) else {
            return Err(Error::of_clone(sys::errno()));
        };
        let opened = open_child(pid);
        if opened.is_ok() {
            gate.open();
        } else {
            drop(gate);
            // It ends by itself, without a signal to a number. ECHILD: it was reaped already.
            let _ = retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty()));
        }
        opened
    }
}

/// Opens a child that is held back.
fn open_child(pid: Pid) -> Result<Process, Error> {
    let process = Process::open(pid).map_err(|error| match error {
        Error::NotFound(cause) => Error::NotChild(cause),
        other => other,
    })?;
    // Held back is not unkillable: a child that was killed may be gone, and its number a stranger's.
    status::is_ours(process.as_fd()).map_err(Error::of_wait)?;
    Ok(process)
}

/// In the forked child: runs the caller's closure and ends.
fn run(child: impl FnOnce() -> i32) -> ! {
    // To unwind further would run the destructors of the caller's copy: its temporary files are the parent's.
    let code = catch_unwind(AssertUnwindSafe(child)).unwrap_or_else(|payload| {
        // Not dropped, since it may panic again; its memory goes with the process.
        std::mem::forget(payload);
        PANICKED
    });
    // SAFETY: ends the process; no handler or destructor runs that belongs to the parent.
    unsafe { libc::_exit(code) }
}

/// Ends a copy of this process, made by fork, that has nothing to do. Its exit code is 0, as that of a process
/// whose last thread has ended.
///
/// Runs no exit handler and no destructor: the buffers and temporary files that they would care for are the parent's.
pub(crate) fn end_copy() -> ! {
    // SAFETY: ends the process; no handler or destructor runs that belongs to the parent.
    unsafe { libc::_exit(0) }
}
