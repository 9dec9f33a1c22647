//! Signals that are read from a descriptor:
//! [signalfd(2)](https://man7.org/linux/man-pages/man2/signalfd.2.html).

use std::ffi::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr;

use crate::sys::descriptors::above_standard_streams;
use crate::sys::identity::own_pid;

/// A signal that was received, and what is known about its sender.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReceivedSignal {
    pub(crate) signal: c_int,
    /// The kernel sent it: a terminal's Ctrl-C, for example.
    pub(crate) by_kernel: bool,
    /// This process has caused it: SIGPIPE, by writing to a pipe without a reader, or SIGCONT, by
    /// [`continue_at_news_of`](super::continue_at_news_of).
    pub(crate) by_itself: bool,
    /// The process that sent it. 0 for the kernel, and for a process outside this PID namespace.
    pub(crate) sender: u32,
}

/// Makes a descriptor from which every signal can be read. The signals must be blocked.
pub(crate) fn signal_fd() -> io::Result<OwnedFd> {
    let mut all = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises the set before signalfd reads it.
    let number = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::signalfd(-1, all.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: signalfd has just made it, and nobody else has it.
    above_standard_streams(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The next signal of a [`signal_fd`], if one has come.
pub(crate) fn next_signal(fd: &OwnedFd) -> Option<ReceivedSignal> {
    let mut bytes = [0_u8; size_of::<libc::signalfd_siginfo>()];
    let count = rustix::io::read(fd, &mut bytes).ok()?;
    if count != bytes.len() {
        return None;
    }
    // SAFETY: the buffer holds a whole structure, and any bytes are valid in it: it has integers
    // only. read_unaligned needs no alignment.
    let info = unsafe { ptr::read_unaligned(bytes.as_ptr().cast::<libc::signalfd_siginfo>()) };
    Some(ReceivedSignal {
        signal: c_int::try_from(info.ssi_signo).ok()?,
        // SI_KERNEL of include/uapi/asm-generic/siginfo.h.
        by_kernel: info.ssi_code == 0x80,
        by_itself: own_pid()
            .is_ok_and(|own| own.as_raw_nonzero().get().unsigned_abs() == info.ssi_pid)
            // POLL_IN to POLL_HUP of include/uapi/asm-generic/siginfo.h.
            || info.ssi_signo == libc::SIGCONT.unsigned_abs() && matches!(info.ssi_code, 1..=6),
        sender: info.ssi_pid,
    })
}
