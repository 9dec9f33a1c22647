//! Namespaces and mounts of this process.

use std::ffi::{CString, c_int};
use std::io;
use std::ptr;

use rustix::process::Pid;

use crate::sys::identity::own_pid;
use crate::sys::sole_thread::SoleThread;

/// This process is pid 1 of a PID namespace, and all others in it are COMMAND's tree.
#[derive(Debug)]
pub(crate) struct NamespaceInit {
    /// 1.
    pid: Pid,
}

impl NamespaceInit {
    /// In a process whose PID namespace has nobody in it but the shim and COMMAND's tree. An error
    /// if it is not pid 1.
    pub(crate) fn of_this_process(_: &SoleThread) -> io::Result<NamespaceInit> {
        let pid = own_pid()?;
        if pid.as_raw_nonzero().get() == 1 {
            return Ok(NamespaceInit { pid });
        }
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Sends a signal to every process of this PID namespace but this one.
    ///
    /// Refused if this process is not pid 1 any more, as in a forked copy: from another process the
    /// call would mean every process of the machine.
    pub(crate) fn signal_all_others(&self, signal: c_int) -> io::Result<()> {
        if own_pid()? != self.pid {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        // SAFETY: plain numbers. The receivers live in a namespace that has COMMAND's tree alone.
        if unsafe { libc::kill(-1, signal) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

/// New namespaces for this process, as `CLONE_NEW*` flags name them.
pub(crate) fn unshare(_: &SoleThread, flags: c_int) -> io::Result<()> {
    // SAFETY: a plain number. The namespaces concern this process alone, which has one thread.
    if unsafe { libc::unshare(flags) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Gives this process a mount namespace of its own.
pub(crate) fn unshare_mounts() -> io::Result<()> {
    // SAFETY: a plain number. Memory of ours is not concerned.
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
    // SAFETY: C strings that live through the call, and null pointers where mount(2) allows them.
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
