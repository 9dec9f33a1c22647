//! Threads of this process, by their numbers.

use rustix::io::Errno;

use super::errno::errno;

/// The kernel's number of the calling thread. A filter may refuse even this call.
/// [gettid(2)](https://man7.org/linux/man-pages/man2/gettid.2.html)
pub(crate) fn gettid() -> Result<i32, Errno> {
    // SAFETY: no argument, and no effect on memory.
    number(unsafe { libc::syscall(libc::SYS_gettid) })
}

/// Whether the kernel has a thread with that number in this process. `EINVAL` if the number is not
/// valid. [tgkill(2)](https://man7.org/linux/man-pages/man2/tgkill.2.html)
pub(crate) fn thread_exists(tid: i32) -> Result<bool, Errno> {
    // SAFETY: as above.
    let own = number(unsafe { libc::syscall(libc::SYS_getpid) })?;
    let tid = number(tid.into())?;
    let no_signal: libc::c_int = 0;
    // SAFETY: signal 0 only checks. Both numbers are above zero and the first is our own.
    match unsafe { libc::syscall(libc::SYS_tgkill, own, tid, no_signal) } {
        0 => Ok(true),
        _ => match errno() {
            Errno::SRCH => Ok(false),
            errno => Err(errno),
        },
    }
}

/// Converts a call's result to the number of a thread or process: above zero, or an error.
fn number(answer: libc::c_long) -> Result<i32, Errno> {
    match i32::try_from(answer) {
        Ok(number) if number > 0 => Ok(number),
        Ok(-1) => Err(errno()),
        _ => Err(Errno::INVAL),
    }
}
