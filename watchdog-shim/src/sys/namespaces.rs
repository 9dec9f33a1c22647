//! Namespaces and mounts of this process.

use std::ffi::{CString, c_int};
use std::io;
use std::ptr;

use rustix::process::Pid;

use crate::sys::identity::own_pid;
use crate::sys::sole_thread::SoleThread;

/// Proves that this process is pid 1 of a PID namespace. When it ends, the kernel ends all other
/// processes in the namespace: COMMAND's tree, and any that entered from outside.
#[derive(Debug)]
pub(crate) struct NamespaceInit {
    /// Always 1.
    pid: Pid,
}

impl NamespaceInit {
    /// Returns an error if this process is not pid 1.
    pub(crate) fn of_this_process(_: &SoleThread) -> io::Result<NamespaceInit> {
        let pid = own_pid()?;
        if pid.as_raw_nonzero().get() == 1 {
            return Ok(NamespaceInit { pid });
        }
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Sends a signal to every process of this PID namespace but this one.
    ///
    /// Refuses if this process is not the one that was pid 1: a forked copy, for example. Outside
    /// the namespace the same call would mean every process of the machine.
    pub(crate) fn signal_all_others(&self, signal: c_int) -> io::Result<()> {
        if own_pid()? != self.pid {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        // SAFETY: plain numbers. This process is pid 1, so -1 means the others in its namespace.
        // They end with this process anyway.
        if unsafe { libc::kill(-1, signal) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

/// Makes new namespaces for this process: those that the `CLONE_NEW*` flags name.
pub(crate) fn unshare(_: &SoleThread, flags: c_int) -> io::Result<()> {
    // SAFETY: a plain number. The namespaces concern this process alone, which has one thread.
    if unsafe { libc::unshare(flags) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Gives this process a mount namespace of its own.
pub(crate) fn unshare_mounts() -> io::Result<()> {
    // SAFETY: a plain number. A mount namespace changes no memory and no descriptor.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// mount(2) without data.
pub(crate) fn mount(
    source: Option<&CString>,
    target: &CString,
    kind: Option<&CString>,
    flags: libc::c_ulong,
) -> io::Result<()> {
    let pointer = |text: Option<&CString>| text.map_or(ptr::null(), |text| text.as_ptr());
    // SAFETY: the strings end with a null byte and outlive the call. The null pointers are where
    // mount(2) allows them.
    let failed = unsafe {
        libc::mount(
            pointer(source),
            target.as_ptr(),
            pointer(kind),
            flags,
            ptr::null(),
        )
    };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
