//! The limit on descriptors.

use std::mem::MaybeUninit;

/// Raises the soft limit on descriptors to the hard limit. An error changes nothing.
pub(crate) fn raise_descriptor_limit() {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: `limit` has room for both limits. It is read only if the call returned 0.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) == 0 {
            let mut limit = limit.assume_init();
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}
