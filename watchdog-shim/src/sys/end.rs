//! Ends this process.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr;

use crate::sys::identity::own_pid;

/// Ends this process by `signal`, as COMMAND ended, without a core dump of its own.
///
/// Returns if the signal does not end this process: pid 1 of a PID namespace, for example.
pub(crate) fn die_of(signal: c_int) {
    // The number is checked: kill(2) would take -1 for every process.
    let Ok(own) = own_pid() else { return };
    // SAFETY: SIG_DFL installs no function. The set is initialised before it is used. `own` is
    // above zero, so kill(2) signals this process alone.
    unsafe {
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
        libc::signal(signal, libc::SIG_DFL);
        // Not raise(3): it refuses the two signals that the C library keeps to itself, and COMMAND
        // may have died of one of them.
        libc::kill(own.as_raw_nonzero().get(), signal);
        let mut set = MaybeUninit::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        libc::sigprocmask(libc::SIG_UNBLOCK, set.as_ptr(), ptr::null_mut());
    }
}

/// Ends this process at once: no destructor and no exit handler runs.
pub(crate) fn exit_now(code: u8) -> ! {
    // SAFETY: takes a plain number, and does not return.
    unsafe { libc::_exit(code.into()) }
}
