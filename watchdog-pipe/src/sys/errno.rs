//! The error number of the calling thread.

use std::marker::PhantomData;

/// Restores `errno` when dropped: the signal handler may have interrupted a function that has not
/// read `errno` yet.
#[derive(Debug)]
pub(crate) struct KeptErrno {
    before: libc::c_int,
    /// `errno` belongs to the calling thread.
    not_send: PhantomData<*const ()>,
}

impl KeptErrno {
    pub(crate) fn keep() -> KeptErrno {
        KeptErrno {
            // SAFETY: the C library's place for the number is this thread's, and always there.
            before: unsafe { *libc::__errno_location() },
            not_send: PhantomData,
        }
    }
}

impl Drop for KeptErrno {
    fn drop(&mut self) {
        // SAFETY: as in `keep`.
        unsafe { *libc::__errno_location() = self.before };
    }
}
