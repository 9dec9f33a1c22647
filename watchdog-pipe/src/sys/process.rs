//! This process's own number, its signals, and its first thread.

use std::io;
use std::mem::MaybeUninit;
use std::num::NonZeroU32;
use std::ptr;

use rustix::process::Signal;

/// The number of this process, from a call whose answer was checked.
///
/// A seccomp filter may answer any call with an error, getpid(2) too, and the C library then
/// returns the error as if it were a number. As a target of kill(2), -1 means every process that
/// there is, and 0 the whole process group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OwnPid(NonZeroU32);

impl OwnPid {
    /// Fails with the error that a filter answers instead of getpid(2).
    ///
    /// # References
    /// [getpid(2)](https://man7.org/linux/man-pages/man2/getpid.2.html)
    pub(crate) fn read() -> io::Result<OwnPid> {
        // The raw call: the C library's own function returns an error as if it were a process
        // number.
        // SAFETY: getpid(2) has no argument and no memory effect.
        let answer = unsafe { libc::syscall(libc::SYS_getpid) };
        if answer < 0 {
            return Err(io::Error::last_os_error());
        }
        let number = libc::pid_t::try_from(answer).ok();
        number
            .and_then(|number| NonZeroU32::new(number.unsigned_abs()))
            .map(OwnPid)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "getpid returned no pid"))
    }

    /// Whether this is pid 1 of its PID namespace. The kernel drops every signal to pid 1 that has
    /// no handler there.
    pub(crate) fn is_first(self) -> bool {
        self.0.get() == 1
    }

    /// Sends a signal to this process: any thread that does not block it may take it.
    ///
    /// # References
    /// [kill(2)](https://man7.org/linux/man-pages/man2/kill.2.html)
    pub(crate) fn signal(self, signal: Signal) -> io::Result<()> {
        let number = self.0.get().cast_signed();
        // SAFETY: kill(2) has no memory effect. The number is this process's, and above zero: see
        // `read`.
        match unsafe { libc::kill(number, signal.as_raw()) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Whether the calling thread is the first one of its process. `false` if unknown.
///
/// # References
/// [gettid(2)](https://man7.org/linux/man-pages/man2/gettid.2.html)
pub(crate) fn is_first_thread() -> bool {
    // The raw call, as in `OwnPid::read`.
    // SAFETY: gettid(2) has no argument and no memory effect.
    let thread = unsafe { libc::syscall(libc::SYS_gettid) };
    OwnPid::read().is_ok_and(|process| libc::c_long::from(process.0.get()) == thread)
}

/// Whether the kernel says that the calling thread has no seccomp filter.
///
/// # References
/// [PR_GET_SECCOMP(2const)](https://man7.org/linux/man-pages/man2/pr_get_seccomp.2const.html)
pub(crate) fn has_no_filter() -> bool {
    // SAFETY: prctl(2) of this kind has no memory effect.
    unsafe { libc::prctl(libc::PR_GET_SECCOMP) == 0 }
}

/// Whether the program neither handles nor ignores the signal. `None` if the call is refused.
///
/// # References
/// [sigaction(2)](https://man7.org/linux/man-pages/man2/sigaction.2.html)
pub(crate) fn has_default_action(signal: Signal) -> Option<bool> {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: no action is set, and the place for the current one is large enough.
    let answer = unsafe { libc::sigaction(signal.as_raw(), ptr::null(), action.as_mut_ptr()) };
    // SAFETY: sigaction answered 0, so it has filled the structure.
    (answer == 0).then(|| unsafe { action.assume_init() }.sa_sigaction == libc::SIG_DFL)
}

/// Whether a signal is pending for this process or thread. The caller must have blocked it.
///
/// # References
/// [sigpending(2)](https://man7.org/linux/man-pages/man2/sigpending.2.html)
pub(crate) fn is_pending(signal: libc::c_int) -> bool {
    let mut pending = MaybeUninit::uninit();
    // SAFETY: sigpending fills the set when it answers 0, and only then is the set read.
    unsafe {
        libc::sigpending(pending.as_mut_ptr()) == 0
            && libc::sigismember(pending.as_ptr(), signal) == 1
    }
}

/// Whether a system call takes pending signals out of the queue.
///
/// # References
/// [sigtimedwait(2)](https://man7.org/linux/man-pages/man2/sigtimedwait.2.html)
pub(crate) fn waits_for_signals(call: libc::c_long) -> bool {
    /// `rt_sigtimedwait_time64` of include/uapi/asm-generic/unistd.h, which 32-bit programs call.
    const WITH_LONG_TIME: libc::c_long = 421;
    call == libc::SYS_rt_sigtimedwait
        || (cfg!(target_pointer_width = "32") && call == WITH_LONG_TIME)
}
