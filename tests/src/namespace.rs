//! A PID namespace of a fixture's own, and what a pid 1 there does first.

use std::ffi::CStr;
use std::io;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use crate::Guard;

/// Runs this program again as pid 1 of a new PID namespace, in a mount namespace of its own;
/// `false`, and a line that says why, where there is none to be had. The caller has one thread.
pub fn run_inside(command: &mut Command) -> bool {
    // SAFETY: plain numbers; this process has one thread.
    if unsafe { libc::unshare(libc::CLONE_NEWPID | libc::CLONE_NEWNS) } != 0 {
        let error = io::Error::last_os_error();
        eprintln!("skipped: no new PID namespace to be had here ({error})");
        return false;
    }
    let mut inside = Guard::spawn(command.stdin(Stdio::null()));
    let status = inside.wait_deadline();
    assert!(status.success(), "{command:?}: {status}");
    true
}

/// Mounts of this process's own from here on; `false`, and a line that says why, where they are not
/// to be had. The caller has one thread.
pub fn unshare_mounts() -> bool {
    // SAFETY: a plain number; this process has one thread.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        let error = io::Error::last_os_error();
        eprintln!("skipped: no new mount namespace to be had here ({error})");
        return false;
    }
    mount(None, c"/", libc::MS_REC | libc::MS_PRIVATE);
    true
}

/// A network of this process's own from here on, in which every port of the loopback is free;
/// `false`, and a line that says why, where there is none to be had.
pub fn unshare_network() -> bool {
    // SAFETY: a plain number; sockets that are open already stay in the old network.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        let error = io::Error::last_os_error();
        eprintln!("skipped: no new network namespace to be had here ({error})");
        return false;
    }
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("any socket");
    // SAFETY: all zeros is a request, with an empty name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *place = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_UP).expect("a small flag");
    // SAFETY: the request lives through the call, which only reads it; the socket is open.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    assert_eq!(done, 0, "the loopback: {}", io::Error::last_os_error());
    true
}

/// What lies at `path` is `file` from here on, for those who share this process's mounts.
pub fn cover(path: &CStr, file: &CStr) {
    // SAFETY: strings that end with a zero byte, and null pointers that a bind mount ignores.
    let done = unsafe {
        libc::mount(
            file.as_ptr(),
            path.as_ptr(),
            std::ptr::null(),
            libc::MS_BIND,
            std::ptr::null(),
        )
    };
    assert_eq!(done, 0, "mount {path:?}: {}", io::Error::last_os_error());
}

/// The mounts become this process's own, and /proc shows its namespace.
pub fn mount_proc() {
    mount(None, c"/", libc::MS_REC | libc::MS_PRIVATE);
    mount(Some(c"proc"), c"/proc", 0);
}

/// The mounts become this process's own, and /proc is an empty folder, for the caller to fill.
pub fn mount_empty_proc() {
    mount(None, c"/", libc::MS_REC | libc::MS_PRIVATE);
    mount(Some(c"tmpfs"), c"/proc", 0);
}

/// A new, empty file system in memory at `target`, with mount options such as `size=64k`.
pub fn mount_tmpfs(target: &std::path::Path, options: &str) {
    use std::os::unix::ffi::OsStrExt;
    let target = std::ffi::CString::new(target.as_os_str().as_bytes()).expect("no NUL");
    let options = std::ffi::CString::new(options).expect("no NUL");
    // SAFETY: strings that end with a zero byte.
    let done = unsafe {
        libc::mount(
            c"tmpfs".as_ptr(),
            target.as_ptr(),
            c"tmpfs".as_ptr(),
            0,
            options.as_ptr().cast(),
        )
    };
    assert_eq!(done, 0, "mount {target:?}: {}", io::Error::last_os_error());
}

fn mount(kind: Option<&CStr>, target: &CStr, flags: libc::c_ulong) {
    let kind = kind.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: the strings end with a zero byte; the null pointers are ones that mount(2) ignores.
    let done = unsafe { libc::mount(kind, target.as_ptr(), kind, flags, std::ptr::null()) };
    assert_eq!(done, 0, "mount {target:?}: {}", io::Error::last_os_error());
}

/// A limit on pids so low that numbers come again at once. `false`, and a line that says why, where
/// `pid_max` is not the namespace's own: before Linux 6.14.
pub fn few_numbers() -> bool {
    if kernel() < (6, 14) {
        eprintln!("skipped: pid_max is not the namespace's own before Linux 6.14");
        return false;
    }
    std::fs::write("/proc/sys/kernel/pid_max", "400").expect("pid_max of this namespace");
    true
}

/// What a look at a zombie that leaves it one tells of an exit code: the code, and nothing before
/// Linux 5.17. There it would be that of the first thread, so the library waits for the reaping.
pub fn looked_at<T>(code: T) -> Option<T> {
    (kernel() >= (5, 17)).then_some(code)
}

/// The kernel's version: what a test may expect of it, never what a library may.
pub fn kernel() -> (u32, u32) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|n| n.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
