//! Forks a child and returns a handle on it.

use std::os::fd::AsFd;

use rustix::io::retry_on_intr;
use rustix::process::{WaitOptions, waitpid};

use crate::child::{self, Gate};
use crate::{Error, Pid, Process, status};

impl Process {
    /// Forks. The child runs `child` and ends by `_exit`, with the exit code that `child` returns.
    /// The caller gets the handle.
    ///
    /// The child is held back until the handle is open. So even a child that ends at once cannot be
    /// reaped before that, neither by another part of the program nor by the kernel if `SIGCHLD` is
    /// ignored. Its pid cannot go to another process. The pidfd is close-on-exec, and the child has
    /// no copy of it.
    ///
    /// This is the C library's `fork`: its `pthread_atfork` handlers run, and thread ids and the
    /// allocator work in the child. To start a program, use `std::process::Command`.
    ///
    /// A panic in `child` ends the child with exit code 101. It does not unwind into the copy of
    /// the caller.
    ///
    /// # Safety
    ///
    /// In the child only the calling thread exists. If this process has other threads, `child` may
    /// do only what is async-signal-safe: locks that other threads held stay locked for ever.
    /// (glibc handles its allocator's locks.) `child` must not return to the caller's code: the
    /// child ends here. What it drops is dropped only in the copy.
    ///
    /// # Errors
    ///
    /// In each of these cases `child` has not run, and no process is left.
    /// - [`TooManyOpenFiles`](Error::TooManyOpenFiles) (`EMFILE`, `ENFILE`).
    /// - [`TooManyProcesses`](Error::TooManyProcesses) (`EAGAIN`).
    /// - [`PermissionDenied`](Error::PermissionDenied), [`Unsupported`](Error::Unsupported): a
    ///   seccomp filter.
    /// - [`NotChild`](Error::NotChild) (`ESRCH`, `ECHILD`): somebody killed the child at once, and
    ///   it was reaped by another part of the program, or by the kernel because `SIGCHLD` is
    ///   ignored.
    /// - [`Io`](Error::Io): `ENOMEM`.
    ///
    /// # References
    ///
    /// [fork(2)](https://man7.org/linux/man-pages/man2/fork.2.html),
    /// [pidfd_open(2)](https://man7.org/linux/man-pages/man2/pidfd_open.2.html) (Linux 5.3);
    /// [signal-safety(7)](https://man7.org/linux/man-pages/man7/signal-safety.7.html)
    #[allow(unsafe_code, reason = "its caller answers for what the child does")]
    pub unsafe fn fork(child: impl FnOnce() -> i32) -> Result<Process, Error> {
        let gate = Gate::closed().map_err(Error::of_call)?;
        // SAFETY: our caller answers for what the child does in its copy of this process.
        let (pid, gate) = unsafe { child::fork(gate, child) }?;
        let opened = open_child(pid);
        if opened.is_ok() {
            gate.open();
        } else {
            drop(gate);
            // The child ends by itself, so no signal to a pid is needed. ECHILD: it was reaped
            // already.
            let _ = retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty()));
        }
        opened
    }
}

/// Opens a child that the gate holds back.
fn open_child(pid: Pid) -> Result<Process, Error> {
    let process = Process::open(pid).map_err(|error| match error {
        Error::NotFound(cause) => Error::NotChild(cause),
        other => other,
    })?;
    // A child that is held back can still be killed. Then it may be gone, and a stranger may have
    // its pid.
    status::is_ours(process.as_fd()).map_err(Error::of_wait)?;
    Ok(process)
}
