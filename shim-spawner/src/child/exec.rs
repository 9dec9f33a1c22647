//! Executes the program.

use super::calls::{Errno, check};
use crate::image::Image;

/// Runs in the child: looks for the program as execvp(3) does, with everything prepared. Returns
/// only on failure, with the reason.
///
/// Unlike execvp(3), it does not ask a shell to run a file without a header that the kernel knows.
/// `ENOEXEC` may also mean a damaged program, or one for another machine.
pub(super) fn exec(image: &Image) -> Errno {
    let mut reason = Errno(libc::ENOENT);
    let mut denied = false;
    for &candidate in image.candidates() {
        // SAFETY: C strings and arrays of them that end with null, made by `Image::new`. They live
        // as long as `image`, which outlives the child's use of this memory.
        reason = unsafe { execve(candidate, image.argv(), image.environment()) };
        match reason {
            // A later candidate may be executable. If there is none, EACCES is the reason.
            Errno(libc::EACCES) => denied = true,
            Errno(libc::ENOENT | libc::ESTALE | libc::ENOTDIR | libc::ENODEV | libc::ETIMEDOUT) => {
            }
            _ => return reason,
        }
    }
    if denied { Errno(libc::EACCES) } else { reason }
}

/// Runs in the child: execve(2). Returns its errno.
///
/// # Safety
/// `path` is a C string. `argv` and `environment` are arrays of C strings that end with a null
/// pointer.
unsafe fn execve(
    path: *const libc::c_char,
    argv: *const *const libc::c_char,
    environment: *const *const libc::c_char,
) -> Errno {
    // SAFETY: the caller's promise.
    match check(unsafe { libc::syscall(libc::SYS_execve, path, argv, environment) }) {
        Err(errno) => errno,
        // A successful call does not return.
        Ok(_) => Errno(libc::ENOEXEC),
    }
}
