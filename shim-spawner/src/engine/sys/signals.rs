//! The kernel's own signal mask of the calling thread.

use std::ffi::c_long;
use std::marker::PhantomData;
use std::ptr;

use rustix::io::Errno;

use crate::child::{SIGSET_BYTES, SignalSet};
use crate::sys::last_errno;

/// Every signal blocked in the calling thread, those that the C library keeps for itself included,
/// until it is dropped.
pub(in crate::engine) struct RawBlockedSignals {
    before: SignalSet,
    /// The mask is this thread's.
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
        // The call that blocked them was allowed, and this is the same.
        let _ = set_mask(&self.before, None);
    }
}

/// `rt_sigprocmask(2)` itself: the C library's function leaves its own two signals open, and a
/// handler of theirs would run in the child with the parent's memory.
fn set_mask(new: &SignalSet, old: Option<&mut SignalSet>) -> Result<(), Errno> {
    let old = old.map_or(ptr::null_mut(), ptr::from_mut);
    // SAFETY: the kernel reads and writes SIGSET_BYTES, which a `SignalSet` is not smaller than.
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
