//! The kernel's own signal mask of the calling thread.

use std::ffi::c_long;
use std::marker::PhantomData;
use std::ptr;

use rustix::io::Errno;

use crate::child::{SIGSET_BYTES, SignalSet};
use crate::sys::last_errno;

/// Blocks every signal in the calling thread until it is dropped, including those that the C
/// library reserves for itself.
pub(in crate::engine) struct RawBlockedSignals {
    before: SignalSet,
    /// The mask belongs to this thread.
    _thread: PhantomData<*const ()>,
}

impl RawBlockedSignals {
    pub(in crate::engine) fn all() -> Result<RawBlockedSignals, Errno> {
        let all: SignalSet = [u64::MAX; 2];
        let mut before: SignalSet = [0; 2];
        set_mask(&all, Some(&mut before))?;
        Ok(RawBlockedSignals {
            before,
            _thread: PhantomData,
        })
    }

    /// The mask that the thread had.
    pub(in crate::engine) fn before(&self) -> SignalSet {
        self.before
    }
}

impl Drop for RawBlockedSignals {
    fn drop(&mut self) {
        // The call that blocked the signals was allowed, and this is the same call.
        let _ = set_mask(&self.before, None);
    }
}

/// `rt_sigprocmask(2)` itself. The C library's function does not block its own two signals, and
/// their handlers would run in the child with the parent's memory.
fn set_mask(new: &SignalSet, old: Option<&mut SignalSet>) -> Result<(), Errno> {
    let old = old.map_or(ptr::null_mut(), ptr::from_mut);
    // SAFETY: the kernel reads and writes SIGSET_BYTES, and a `SignalSet` is at least as large.
    let done: c_long = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            ptr::from_ref(new),
            old,
            SIGSET_BYTES,
        )
    };
    if done < 0 { Err(last_errno()) } else { Ok(()) }
}
