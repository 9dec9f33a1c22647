//! Signal handlers and the signal mask of the child.

use std::ffi::{c_long, c_void};
use std::ptr;

use super::calls::{Errno, check};

/// What has reset the signal handlers to their default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handlers {
    /// The kernel, by `CLONE_CLEAR_SIGHAND`.
    Cleared,
    /// Nothing yet: they are the parent's.
    Inherited,
}

/// The kernel's `struct sigaction`, larger than any architecture's. All zeros: `SIG_DFL`, no flags.
type Action = [usize; 20];

/// The index of the handler: the first word, except on MIPS, where the flags are first.
const HANDLER: usize = if MIPS { 1 } else { 0 };

/// The size of the kernel's `sigset_t`. The system calls require this size.
pub(crate) const SIGSET_BYTES: usize = if MIPS { 16 } else { 8 };

/// A set of all signals, in the kernel's layout. A platform with fewer signals leaves the second
/// word zero.
pub(crate) type SignalSet = [u64; 2];

const MIPS: bool = cfg!(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6"
));

/// Runs in the child: sets every signal that is not ignored to its default action. If `ignored` is
/// given, exactly those are ignored. If not, the signals that were ignored stay ignored, except
/// SIGPIPE, which Rust programs ignore. This includes the C library's two internal signals, which
/// its own functions hide.
pub(super) fn reset_handlers(handlers: Handlers, ignored: Option<&SignalSet>) -> Result<(), Errno> {
    if let Some(ignored) = ignored {
        return ignore_only(ignored);
    }
    if handlers == Handlers::Inherited {
        for signal in 1..=SIGSET_BYTES * 8 {
            let mut now: Action = [0; 20];
            // SAFETY: no new action; the kernel writes no more than a `struct sigaction` to `now`.
            check(unsafe { sigaction(signal, ptr::null(), now.as_mut_ptr()) })?;
            if now[HANDLER] != libc::SIG_DFL && now[HANDLER] != libc::SIG_IGN {
                default_action(signal)?;
            }
        }
    }
    // Signal numbers are small and positive.
    default_action(libc::SIGPIPE.unsigned_abs() as usize)
}

/// Runs in the child.
fn ignore_only(ignored: &SignalSet) -> Result<(), Errno> {
    // Signal numbers are small and positive.
    let fixed = [libc::SIGKILL, libc::SIGSTOP].map(|signal| signal.unsigned_abs() as usize);
    for signal in (1..=SIGSET_BYTES * 8).filter(|signal| !fixed.contains(signal)) {
        let bit = signal - 1;
        let word = ignored.get(bit / 64).copied().unwrap_or_default();
        let mut action: Action = [0; 20];
        if word >> (bit % 64) & 1 == 1 {
            action[HANDLER] = libc::SIG_IGN;
        }
        set_action(signal, &action)?;
    }
    Ok(())
}

/// Runs in the child.
fn default_action(signal: usize) -> Result<(), Errno> {
    set_action(signal, &[0; 20])
}

/// Runs in the child.
fn set_action(signal: usize, action: &Action) -> Result<(), Errno> {
    // SAFETY: the kernel reads a `struct sigaction`, and `action` is at least as large.
    check(unsafe { sigaction(signal, action.as_ptr(), ptr::null_mut()) }).map(drop)
}

/// Runs in the child: `rt_sigaction(2)`. The child has its own signal table, so no other process is
/// changed.
///
/// # Safety
/// Each pointer is null or has room for an [`Action`].
unsafe fn sigaction(signal: usize, new: *const usize, old: *mut usize) -> c_long {
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, new, old, SIGSET_BYTES) }
}

/// Runs in the child.
pub(super) fn set_mask(mask: &SignalSet) -> Result<(), Errno> {
    // SAFETY: the kernel reads SIGSET_BYTES from `mask` and writes no old mask.
    check(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            mask.as_ptr(),
            ptr::null_mut::<c_void>(),
            SIGSET_BYTES,
        )
    })
    .map(drop)
}
