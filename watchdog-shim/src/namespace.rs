//! A PID namespace for COMMAND's tree. INNER is its pid 1: when INNER ends, the kernel ends all
//! that is in it.

use std::ffi::CString;
use std::fs;
use std::io;

use rustix::io::retry_on_intr;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::sys::{self, Forked, NamespaceInit, SoleThread};

/// How a PID namespace can be made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NamespaceKind {
    /// By a user namespace, since `CAP_SYS_ADMIN` is missing.
    pub(crate) user: bool,
    /// With a /proc that shows it. If not, COMMAND sees its caller's.
    pub(crate) proc: bool,
}

/// Tries to make a PID namespace in a child. Only a trial tells: some systems let an unprivileged
/// user make a user namespace, and then refuse everything in it.
pub(crate) fn probe(alone: &SoleThread) -> io::Result<NamespaceKind> {
    let mut reason = io::Error::from_raw_os_error(libc::EPERM);
    for user in [false, true] {
        match probe_one(alone, user) {
            Ok(proc) => return Ok(NamespaceKind { user, proc }),
            Err(error) => reason = error,
        }
    }
    Err(reason)
}

/// Whether /proc can be mounted in the namespace. An error if no namespace can be made.
fn probe_one(alone: &SoleThread, user: bool) -> io::Result<bool> {
    const WITHOUT_PROC: i32 = 254;
    let code = in_child(alone, || {
        enter(alone, user)?;
        // Pid 1 of the namespace is a grandchild.
        let mounted = in_child(alone, || {
            NamespaceInit::of_this_process(alone)?;
            Ok(if mount_proc().is_ok() {
                0
            } else {
                WITHOUT_PROC
            })
        })?;
        Ok(mounted)
    })?;
    match code {
        0 => Ok(true),
        WITHOUT_PROC => Ok(false),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
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

/// From here on the next child of this process is pid 1 of a new PID namespace.
///
/// This uses unshare(2) and the C library's fork. After a raw clone(2), the C library of the child
/// would have its parent's thread id. From here on this process cannot start a thread.
pub(crate) fn enter(alone: &SoleThread, user: bool) -> io::Result<()> {
    if !user {
        return sys::unshare(alone, libc::CLONE_NEWPID);
    }
    let (uid, gid) = sys::effective_ids()?;
    sys::unshare(alone, libc::CLONE_NEWUSER | libc::CLONE_NEWPID)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
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
