//! The signal mask of the calling thread.
//!
//! This file has the same text in every crate that has it.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;

use rustix::io::Errno;

/// Blocks all signals in the calling thread until it is dropped.
///
/// A thread inherits the mask of the thread that creates it. A thread that blocks signals only
/// after it has started may run a handler of the program before that. The two signals that the C
/// library keeps for itself stay unblocked: `setuid` and similar functions wait until every thread
/// has taken one of them.
///
/// # References
/// [pthread_sigmask(3)](https://man7.org/linux/man-pages/man3/pthread_sigmask.3.html)
#[derive(Debug)]
pub(crate) struct BlockedSignals {
    before: libc::sigset_t,
    /// The mask belongs to the calling thread, so the guard must not move to another one.
    not_send: PhantomData<*const ()>,
}

impl BlockedSignals {
    /// Errors: `EPERM` or `ENOSYS` by a filter.
    pub(crate) fn all() -> Result<BlockedSignals, Errno> {
        let (mut all, mut before) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: sigfillset initialises the set that the second call reads; both pointers are
        // valid.
        let failed = unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr())
        };
        if failed != 0 {
            return Err(Errno::from_raw_os_error(failed));
        }
        Ok(BlockedSignals {
            // SAFETY: the call succeeded, so it has filled in the old mask.
            before: unsafe { before.assume_init() },
            not_send: PhantomData,
        })
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // The same call was allowed when it blocked the signals.
        // SAFETY: `before` is a valid set, and no place for the replaced mask is given.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut())
        };
    }
}
