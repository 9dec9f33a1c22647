//! The end of this process.

use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr;

/// Ends this process by `signal`, as COMMAND ended, without a core dump of its own.
///
/// It comes back if the signal does not end this process, as for pid 1 of a PID namespace.
pub(crate) fn die_of(signal: c_int) {
    // SAFETY: SIG_DFL is no function that could be wrong. The set is initialised before it is used.
    // The number of this process means this process alone.
    unsafe {
        let none = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
        libc::signal(signal, libc::SIG_DFL);
        // Not raise(3), which refuses the two signals that the C library keeps to itself: COMMAND
        // may have died of one of them too.
        libc::kill(libc::getpid(), signal);
        let mut set = MaybeUninit::uninit();
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        libc::sigprocmask(libc::SIG_UNBLOCK, set.as_ptr(), ptr::null_mut());
    }
}

/// Ends this process, and runs nothing on the way.
pub(crate) fn exit_now(code: u8) -> ! {
    // SAFETY: does not come back.
    unsafe { libc::_exit(code.into()) }
}
