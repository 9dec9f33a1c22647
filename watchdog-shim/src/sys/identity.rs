//! Who this process is: its number, its parent, its session and its user.

use std::ffi::c_int;
use std::io;

use rustix::process::Pid;

/// Makes a pid of a number above zero. rustix's own function accepts negative numbers.
pub(crate) fn pid(number: c_int) -> Option<Pid> {
    if number > 0 {
        Pid::from_raw(number)
    } else {
        None
    }
}

/// This process's own number in its PID namespace.
///
/// rustix's function returns no error, but a seccomp filter can make the call fail. kill(2) would
/// take the -1 to mean every process.
pub(crate) fn own_pid() -> io::Result<Pid> {
    // SAFETY: takes nothing.
    positive(unsafe { libc::syscall(libc::SYS_getpid) })
}

/// Whether this process is pid 1 of its PID namespace.
pub(crate) fn is_init() -> bool {
    own_pid().is_ok_and(|pid| pid.as_raw_nonzero().get() == 1)
}

/// The parent's number. The error is of kind `NotFound` if the parent is outside this PID
/// namespace.
pub(crate) fn parent_pid() -> io::Result<Pid> {
    // SAFETY: takes nothing.
    positive(unsafe { libc::syscall(libc::SYS_getppid) })
}

fn positive(answer: libc::c_long) -> io::Result<Pid> {
    match c_int::try_from(answer) {
        Ok(0) => Err(io::ErrorKind::NotFound.into()),
        Ok(number) => pid(number).ok_or_else(io::Error::last_os_error),
        Err(_) => Err(io::Error::from_raw_os_error(libc::EOVERFLOW)),
    }
}

/// Whether this process leads its session.
pub(crate) fn leads_session() -> bool {
    // SAFETY: takes a plain number. The answer is 0 if the leader is outside of this PID namespace.
    let leader = unsafe { libc::syscall(libc::SYS_getsid, 0) };
    own_pid().is_ok_and(|own| libc::c_long::from(own.as_raw_nonzero().get()) == leader)
}

/// The effective user and group of this process.
///
/// Not geteuid(2): it has no error, and returns a wrong number if a filter refuses it.
pub(crate) fn effective_ids() -> io::Result<(u32, u32)> {
    let ([mut real, mut user, mut saved], [mut real_group, mut group, mut saved_group]) =
        ([0; 3], [0; 3]);
    // SAFETY: each of the six pointers has room for an id.
    let failed = unsafe {
        libc::getresuid(&raw mut real, &raw mut user, &raw mut saved) != 0
            || libc::getresgid(&raw mut real_group, &raw mut group, &raw mut saved_group) != 0
    };
    if failed {
        return Err(io::Error::last_os_error());
    }
    Ok((user, group))
}
