//! Signals: those that were blocked and ignored at the start, their numbers, and two that this
//! process sends.

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use rustix::process::Signal;

/// The signals that were blocked and ignored when this process started. COMMAND gets the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InheritedSignals {
    pub(crate) blocked: libc::sigset_t,
    /// Signal `n` is bit `n - 1`.
    pub(crate) ignored: u64,
}

/// The highest signal number there is on Linux.
pub(crate) const LAST_SIGNAL: c_int = 64;

/// Blocks every signal, and gives each its default action. Returns what was blocked and ignored
/// before.
///
/// An ignored signal cannot be read from a descriptor. And if the program that acts as the shim had
/// a handler, it would run in the child that shares its memory, once the child has COMMAND's signal
/// mask.
pub(crate) fn take_signals() -> io::Result<InheritedSignals> {
    let mut all = MaybeUninit::uninit();
    let mut blocked = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises the set. Both sets are valid for sigprocmask, which fills
    // `blocked`.
    let failed = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, all.as_ptr(), blocked.as_mut_ptr())
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it answered 0, so it filled the set.
    let blocked = unsafe { blocked.assume_init() };
    let mut ignored = 0;
    for signal in 1..=LAST_SIGNAL {
        let mut now = MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: no action is set, and `now` has room for the present one. The C library returns
        // an error for the two signals that it keeps for itself.
        if unsafe { libc::sigaction(signal, ptr::null(), now.as_mut_ptr()) } != 0 {
            continue;
        }
        // SAFETY: it answered 0, so it filled the structure.
        let action = unsafe { now.assume_init() }.sa_sigaction;
        if action == libc::SIG_IGN {
            ignored |= 1 << (signal - 1);
        }
        if action != libc::SIG_DFL {
            // SAFETY: SIG_DFL installs no function.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
    Ok(InheritedSignals { blocked, ignored })
}

/// Gives SIGPIPE its default action, which is to end the process.
pub(crate) fn default_sigpipe() {
    // SAFETY: SIG_DFL installs no function.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// The signal of a number, real-time signals included. `None` if there is no such signal, or if the
/// C library keeps it for itself.
pub(crate) fn signal(number: c_int) -> Option<Signal> {
    let real_time = || {
        (libc::SIGRTMIN()..=libc::SIGRTMAX())
            .contains(&number)
            .then(|| {
                // SAFETY: the number is a real-time signal that the C library leaves to programs.
                unsafe { Signal::from_raw_unchecked(number) }
            })
    };
    Signal::from_named_raw(number).or_else(real_time)
}

/// Whether [pidfd_send_signal(2)](https://man7.org/linux/man-pages/man2/pidfd_send_signal.2.html)
/// works. Signal 0 checks, and sends nothing.
pub(crate) fn can_signal(process: BorrowedFd<'_>) -> io::Result<()> {
    let nothing = ptr::null::<libc::siginfo_t>();
    let number = process.as_raw_fd();
    // SAFETY: an open pidfd and plain values.
    if unsafe { libc::syscall(libc::SYS_pidfd_send_signal, number, 0, nothing, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Stops this process, because Ctrl-Z has stopped COMMAND. Returns when this process is continued.
pub(crate) fn stop_here() {
    // SAFETY: takes a plain number, and signals this process alone.
    unsafe { libc::raise(libc::SIGSTOP) };
}
