//! System calls that rustix does not wrap, and all unsafe code of this crate except the sentinel's.

mod descriptor;
mod errno;
mod fork_generation;
mod inherited;
mod lent_fd;
mod process;
mod published;
mod signals;
mod thread;
mod time;
mod write;

use std::io;

use rustix::process::Signal;

pub(crate) use descriptor::{Inspected, descriptor_limit, file, inspect, number};
pub(crate) use errno::KeptErrno;
pub(crate) use fork_generation::ForkGeneration;
pub(crate) use inherited::Inherited;
pub(crate) use lent_fd::LentFd;
pub(crate) use process::{
    OwnPid, has_default_action, has_no_filter, is_first_thread, is_pending, waits_for_signals,
};
pub(crate) use published::Published;
pub(crate) use signals::BlockedSignals;
pub(crate) use thread::{RawThread, ask_for_slices, name_this_thread};
pub(crate) use time::{give_way, now, poll, sleep};
pub(crate) use write::write_without_sigpipe;

/// The size of a page in bytes. Not rustix's function: before Linux 6.4 that one has to open
/// /proc/self/auxv, and panics if no descriptor is free or if the process has dropped privileges.
pub(crate) fn page_size() -> io::Result<usize> {
    // SAFETY: sysconf(3) has no memory effect. The C library has known this number since the
    // program started.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let size = usize::try_from(size).ok();
    let size = size.filter(|size| size.is_power_of_two());
    size.ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// The signal with this number, which comes from the environment. `None` if it is no signal, or one
/// that the C library keeps to itself.
pub(crate) fn signal_from_raw(number: i32) -> Option<Signal> {
    Signal::from_named_raw(number).or_else(|| {
        (libc::SIGRTMIN()..=libc::SIGRTMAX())
            .contains(&number)
            .then(|| {
                // SAFETY: the number is a real-time signal that the C library leaves to programs.
                unsafe { Signal::from_raw_unchecked(number) }
            })
    })
}

/// Ends this process at once, without destructors and atexit functions: either could hang.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit(2) ends the process; nothing runs after it that could see a broken invariant.
    unsafe { libc::_exit(code) }
}
