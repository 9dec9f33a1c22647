//! System calls that rustix does not wrap, and everything unsafe outside the child's routine.

mod descriptor;
mod limit;
mod process;
mod signals;
mod time;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

pub(crate) use descriptor::Descriptor;
pub(crate) use limit::{Limit, open_files, soft_limit};
pub(crate) use process::{
    effective_user, group_of, last_errno, own_group, own_pid, signal_from_raw,
};
pub(crate) use signals::BlockedSignals;
pub(crate) use time::{monotonic, nap};

/// Device and inode of a descriptor number that we do not own. `EBADF` if it is not open.
pub(crate) fn inspect(number: RawFd) -> io::Result<(u64, u64)> {
    // The 64-bit structure on every architecture: on some, fstat has only half of the inode number
    // and fails for larger ones.
    let mut stat = MaybeUninit::<libc::stat64>::uninit();
    // SAFETY: `stat` has room for what fstat64 writes. A number that is not open is only an error.
    if unsafe { libc::fstat64(number, stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fstat64 returned 0, so it has filled the structure.
    let stat = unsafe { stat.assume_init() };
    Ok((stat.st_dev, stat.st_ino))
}

/// Makes an owner of a number.
///
/// # Safety
/// `number` is open, and nothing else owns it.
pub(crate) unsafe fn own(number: RawFd) -> OwnedFd {
    // SAFETY: the caller's promise.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Removes a variable from the environment.
///
/// # Safety
/// No other thread uses the environment except through [`std::env`](mod@std::env).
pub(crate) unsafe fn remove_variable(name: &'static str) {
    // SAFETY: the caller's promise.
    unsafe { std::env::remove_var(name) };
}
