//! Signal handlers and the signal mask of the child.

use std::ffi::{c_long, c_void};
use std::ptr;

use super::calls::{Errno, check};

/// Who has reset the signal handlers to their default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handlers {
    /// The kernel, by `CLONE_CLEAR_SIGHAND`.
    Cleared,
    /// Nobody yet: they are the parent's.
    Inherited,
}

/// The kernel's `struct sigaction`, larger than any architecture's. All zeros: `SIG_DFL`, no flags.
type Action = [usize; 20];

/// Where the handler lies in it: first, but for MIPS, which has the flags there.
const HANDLER: usize = if MIPS { 1 } else { 0 };

/// The size of the kernel's `sigset_t`, which the calls insist on.
pub(crate) const SIGSET_BYTES: usize = if MIPS { 16 } else { 8 };

/// A set of all the signals there are, as the kernel has it; the other one is all zeros.
pub(crate) type SignalSet = [u64; 2];

const MIPS: bool = cfg!(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6"
));

/// Runs in the child: default actions, ignored signals excepted. Those are `ignored`; without that
/// the ones that were ignored stay so, but for SIGPIPE, which Rust programs ignore. The C library's
/// two signals included, which its own functions do not show.
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
    // A signal's number is small and positive.
    default_action(libc::SIGPIPE.unsigned_abs() as usize)
}

/// Runs in the child.
fn ignore_only(ignored: &SignalSet) -> Result<(), Errno> {
    // Numbers are small and positive.
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
    // SAFETY: the kernel reads a `struct sigaction`, which `action` is not smaller than.
    check(unsafe { sigaction(signal, action.as_ptr(), ptr::null_mut()) }).map(drop)
}

/// Runs in the child: `rt_sigaction(2)`. With a signal table of its own, no other process is
/// changed.
///
/// # Safety
/// Null pointers, or room for an [`Action`].
unsafe fn sigaction(signal: usize, new: *const usize, old: *mut usize) -> c_long {
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, new, old, SIGSET_BYTES) }
}

/// Runs in the child.
pub(super) fn set_mask(mask: &SignalSet) -> Result<(), Errno> {
    // SAFETY: the kernel reads SIGSET_BYTES from `mask`; the old mask is not asked for.
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
