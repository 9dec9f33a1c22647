//! Limits of this process.

use std::mem::MaybeUninit;
use std::ptr;

use rustix::io::Errno;
use rustix::process::Rlimit;

use super::process::last_errno;

/// A limit of this process.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// One more than the highest descriptor number.
    OpenFiles,
    /// The size of a file, in bytes.
    FileSize,
}

/// The soft limit. `None` if a seccomp filter refuses the call.
pub(crate) fn soft_limit(limit: Limit) -> Option<u64> {
    let resource = match limit {
        Limit::OpenFiles => libc::RLIMIT_NOFILE,
        Limit::FileSize => libc::RLIMIT_FSIZE,
    };
    limits(resource).ok().map(|limits| limits.rlim_cur)
}

/// Both limits of open files. Async-signal-safe.
pub(crate) fn open_files() -> Result<Rlimit, Errno> {
    let limits = limits(libc::RLIMIT_NOFILE)?;
    let number = |limit| (limit != libc::RLIM64_INFINITY).then_some(limit);
    Ok(Rlimit {
        current: number(limits.rlim_cur),
        maximum: number(limits.rlim_max),
    })
}

/// rustix is not used for this, because it cannot return an error here. Async-signal-safe.
fn limits(resource: libc::__rlimit_resource_t) -> Result<libc::rlimit64, Errno> {
    let mut limits = MaybeUninit::<libc::rlimit64>::uninit();
    // SAFETY: pid 0 is the caller. The kernel reads no new limits (null), and `limits` has room for
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
    if done != 0 {
        return Err(last_errno());
    }
    // SAFETY: the call returned 0, so it has filled the structure.
    Ok(unsafe { limits.assume_init() })
}
