//! Recognises the socket over which std learns of a failed exec.

use std::ffi::c_int;
use std::os::fd::RawFd;

use super::calls::{Errno, socket_option};

/// A Unix socket of type `SOCK_SEQPACKET`, which is what std reports a failed exec over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Socket {
    /// Nothing of that kind lies on the number.
    None,
    /// One does; the kernel gives no two sockets the same cookie while it runs (`SO_COOKIE`, Linux
    /// 4.12).
    Cookie(u64),
    /// A seccomp filter does not let us know.
    Unknown,
}

/// Runs in the child, and in the parent: what kind of socket lies on `fd`.
pub(super) fn socket(fd: RawFd) -> Socket {
    let mut kind: c_int = 0;
    let mut domain: c_int = 0;
    let mut cookie: u64 = 0;
    match socket_option(fd, libc::SO_TYPE, &mut kind) {
        Ok(()) if kind != libc::SOCK_SEQPACKET => return Socket::None,
        Ok(()) => {}
        Err(Errno(libc::EBADF | libc::ENOTSOCK)) => return Socket::None,
        Err(_) => return Socket::Unknown,
    }
    match socket_option(fd, libc::SO_DOMAIN, &mut domain) {
        Ok(()) if domain != libc::AF_UNIX => return Socket::None,
        Ok(()) => {}
        Err(_) => return Socket::Unknown,
    }
    match socket_option(fd, libc::SO_COOKIE, &mut cookie) {
        Ok(()) => Socket::Cookie(cookie),
        Err(_) => Socket::Unknown,
    }
}
