//! Limits of this process.

use std::mem::MaybeUninit;
use std::ptr;

/// A limit of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// One more than the highest number a descriptor can have.
    OpenFiles,
    /// Of a file, in bytes.
    FileSize,
}

/// The soft limit; `None` where a seccomp filter hides it. Not by rustix, which takes no answer but
/// the limits.
pub(crate) fn soft_limit(limit: &Limit) -> Option<u64> {
    let resource = match limit {
        Limit::OpenFiles => libc::RLIMIT_NOFILE,
        Limit::FileSize => libc::RLIMIT_FSIZE,
    };
    let mut limits = MaybeUninit::<libc::rlimit64>::uninit();
    // SAFETY: pid 0 is the caller; the kernel reads no new limits (null), and `limits` has room for
    // what it writes.
    let done = unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            ptr::null::<libc::rlimit64>(),
            limits.as_mut_ptr(),
        )
    };
    // SAFETY: the call answered 0, so it has filled the structure.
    (done == 0).then(|| unsafe { limits.assume_init() }.rlim_cur)
}
