//! The limit on descriptors.

use std::mem::MaybeUninit;

/// Raises the soft limit on descriptors to the hard one, if that is allowed.
pub(crate) fn raise_descriptor_limit() {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the place has room for the limits. They are read only if the first call answered 0.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) == 0 {
            let mut limit = limit.assume_init();
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}
