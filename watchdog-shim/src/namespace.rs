//! A PID namespace for COMMAND's tree: when its pid 1, which is INNER, ends, the kernel ends all that is in it.

use std::ffi::CString;
use std::fs;
use std::io;

use rustix::io::retry_on_intr;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::sys::{self, Forked, NamespaceInit, SoleThread};

/// How a PID namespace can be had here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NamespaceKind {
    /// By way of a user namespace, for whom `CAP_SYS_ADMIN` is missing.
    pub(crate) user: bool,
    /// With a /proc that shows it; else COMMAND sees its caller's.
    pub(crate) proc: bool,
}

/// Tries it in a child: an unprivileged user namespace may be made on some systems, and all that is done in it refused.
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

/// Whether /proc can be mounted there; an error where there is no namespace to be had.
fn probe_one(alone: &SoleThread, user: bool) -> io::Result<bool> {
    const WITHOUT_PROC: i32 = 254;
    let code = in_child(alone, || {
        enter(alone, user)?;
        // A grandchild is pid 1 there.
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

/// Runs `body` in a child, and gives its exit code: what `body` gives, or an errno.
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
                // Killed by a filter.
                io::Error::from_raw_os_error(libc::EPERM)
            })
        }
    }
}

/// From here on the next child of this process is pid 1 of a new PID namespace.
///
/// By unshare(2) and a fork of the C library's: a raw clone(2) would leave the C library of the child with its parent's
/// thread id. The price is that this process can start no thread any more, which it does not.
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

/// Mounts of this process's own, and a /proc that shows its PID namespace.
pub(crate) fn mount_proc() -> io::Result<()> {
    let text = |text: &str| CString::new(text).map_err(io::Error::from);
    let (root, proc, path) = (text("/")?, text("proc")?, text("/proc")?);
    sys::unshare_mounts()?;
    // What is mounted outside later still comes in; what is mounted here stays here.
    sys::mount(None, &root, None, libc::MS_REC | libc::MS_SLAVE)?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    sys::mount(Some(&proc), &path, Some(&proc), flags)
}
