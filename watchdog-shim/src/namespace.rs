//! A PID namespace for COMMAND's tree. INNER is its pid 1: when INNER ends, the kernel ends every
//! process in it.

use std::ffi::CString;
use std::fs;
use std::io;

use rustix::io::retry_on_intr;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::sys::{self, Forked, NamespaceInit, SoleThread};

/// How a PID namespace was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    /// With `CAP_SYS_ADMIN`.
    Privilege,
    /// With a user namespace, because `CAP_SYS_ADMIN` is missing.
    UserNamespace,
}

/// A trial has shown that a PID namespace can be made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trial {
    pub(crate) means: Means,
    /// Whether a /proc that shows it can be mounted. If not, COMMAND sees its caller's.
    pub(crate) proc: bool,
}

/// Makes a PID namespace in a child, to find out whether that is possible. Only a trial can tell:
/// some systems let an unprivileged user make a user namespace, and then refuse everything in it.
pub(crate) fn try_in_child(alone: &SoleThread) -> io::Result<Trial> {
    /// Exit codes of the child. Errnos are smaller.
    const PRIVILEGE: i32 = 0b1111_1000;
    const USER: i32 = PRIVILEGE | 1;
    const PROC: i32 = 2;
    let code = in_child(alone, || {
        let means = match enter(alone)? {
            Means::Privilege => PRIVILEGE,
            Means::UserNamespace => USER,
        };
        // Pid 1 of the namespace is a grandchild.
        let proc = in_child(alone, || {
            NamespaceInit::of_this_process(alone)?;
            Ok(if mount_proc().is_ok() { PROC } else { 0 })
        })?;
        match proc {
            0 | PROC => Ok(means | proc),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    })?;
    let means = match code & !PROC {
        PRIVILEGE => Means::Privilege,
        USER => Means::UserNamespace,
        errno => return Err(io::Error::from_raw_os_error(errno)),
    };
    let proc = code & PROC != 0;
    Ok(Trial { means, proc })
}

/// Runs `body` in a child, and returns its exit code: the one that `body` returns, or an errno.
pub(crate) fn in_child(
    alone: &SoleThread,
    body: impl FnOnce() -> io::Result<i32>,
) -> io::Result<i32> {
    match sys::fork(alone)? {
        Forked::Child => {
            let code = body().unwrap_or_else(|error| error.raw_os_error().unwrap_or(libc::EIO));
            sys::exit_now(u8::try_from(code).unwrap_or(u8::MAX))
        }
        Forked::Parent(pid) => {
            let status = retry_on_intr(|| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED))?;
            let code = status.and_then(|status| status.exit_status());
            code.ok_or_else(|| {
                // It was killed, by a filter for example.
                io::Error::from_raw_os_error(libc::EPERM)
            })
        }
    }
}

/// Makes the next child of this process pid 1 of a new PID namespace. After an error this process
/// may be in a user namespace, and cannot start anything.
///
/// This uses unshare(2) and the C library's fork. After a raw clone(2), the C library in the child
/// would have its parent's thread id. From here on this process cannot start a thread.
pub(crate) fn enter(alone: &SoleThread) -> io::Result<Means> {
    if sys::unshare(alone, libc::CLONE_NEWPID).is_ok() {
        return Ok(Means::Privilege);
    }
    let (uid, gid) = sys::effective_ids()?;
    sys::unshare(alone, libc::CLONE_NEWUSER | libc::CLONE_NEWPID)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    Ok(Means::UserNamespace)
}

/// Gives this process mounts of its own, and a /proc that shows its PID namespace.
pub(crate) fn mount_proc() -> io::Result<()> {
    let text = |text: &str| CString::new(text).map_err(io::Error::from);
    let (root, proc, path) = (text("/")?, text("proc")?, text("/proc")?);
    sys::unshare_mounts()?;
    // Later mounts outside still appear here. Mounts here do not appear outside.
    sys::mount(None, &root, None, libc::MS_REC | libc::MS_SLAVE)?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    sys::mount(Some(&proc), &path, Some(&proc), flags)
}
