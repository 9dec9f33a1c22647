//! Recognises the socket over which std reports a failed exec.

use std::ffi::c_int;
use std::os::fd::RawFd;

use super::calls::{Errno, socket_option};

/// Whether a number has a Unix socket of type `SOCK_SEQPACKET`, the kind over which std reports a
/// failed exec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Socket {
    /// The number has no such socket.
    None,
    /// The number has such a socket. The kernel gives no two sockets the same cookie while it runs
    /// (`SO_COOKIE`, Linux 4.12).
    Cookie(u64),
    /// A seccomp filter hides the answer.
    Unknown,
}

/// Runs in the child and in the parent: what kind of socket is on `fd`.
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
