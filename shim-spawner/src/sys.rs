//! System calls that rustix does not wrap, and everything unsafe outside the child's routine.

mod descriptor;
mod limit;
mod process;
mod signals;
mod time;

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use crate::config::{self, ConfigError};

pub(crate) use descriptor::Descriptor;
pub(crate) use limit::{Limit, soft_limit};
pub(crate) use process::{check_unreaped, effective_user, last_errno, own_pid, signal_from_raw};
pub(crate) use signals::SignalsBlocked;
pub(crate) use time::nap;

/// The configuration that the spawner passed by [`ShimSpawner::config`](crate::ShimSpawner::config).
/// `Ok(None)`: it passed none to this process, which may have inherited the variable.
///
/// Reads it once: the descriptor is closed and the variable is taken out of the environment, so that nothing that
/// this process starts mistakes it for its own. A second call gives `Ok(None)`.
///
/// # Errors
/// A [`ConfigError`]: the variable is damaged, or what it names is not what the spawner has sealed. Nothing was
/// closed or changed then, but in [`ConfigError::Io`].
///
/// # Safety
/// - Takes ownership of the descriptor number in the variable. Sound if nothing else in this process owns
///   that number: call it early in `main`, before any other inherited descriptor is adopted. That the number
///   is the very memory file the variable was written for is checked.
/// - No other thread uses the environment meanwhile, other than by the functions of [`std::env`](mod@std::env).
///
/// # References
/// [memfd_create(2)](https://man7.org/linux/man-pages/man2/memfd_create.2.html)
pub unsafe fn shim_config() -> Result<Option<Vec<u8>>, ConfigError> {
    let own = |number| {
        // SAFETY: `config` calls this for a number that it found open as the memory file which the variable
        // names; that no one else owns it is our caller's promise.
        unsafe { OwnedFd::from_raw_fd(number) }
    };
    let forget = |name| {
        // SAFETY: nobody reads the environment behind the back of `std::env`, by our caller's promise.
        unsafe { std::env::remove_var(name) }
    };
    config::from_environment(own, forget)
}

/// Device and inode of a number that we do not own. `EBADF` when it is not open.
pub(crate) fn inspect(number: RawFd) -> io::Result<(u64, u64)> {
    // The 64-bit structure on every architecture: fstat has half an inode's number on some, and fails for larger ones.
    let mut stat = MaybeUninit::<libc::stat64>::uninit();
    // SAFETY: `stat` has room for what fstat64 writes; a number that is not open is only an error.
    if unsafe { libc::fstat64(number, stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: fstat64 answered 0, so it has filled the structure.
    let stat = unsafe { stat.assume_init() };
    Ok((stat.st_dev, stat.st_ino))
}
