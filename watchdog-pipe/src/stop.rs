//! How a process ends itself without relying on anything else in it.

use rustix::process::Signal;

use crate::cancel::Cancel;
use crate::reserve::Own;
use crate::{StopPolicy, sys};

/// A shell reports a process that a signal ended as this plus the signal's number.
const BY_SIGNAL: i32 = 128;

/// Stops this process. Returns only if it is cancelled within the grace period.
///
/// It allocates nothing, takes no lock, and needs no descriptor. If a call fails, it goes on with
/// the next step.
pub(crate) fn this_process(own: &Own, policy: StopPolicy, cancel: &Cancel) {
    let signal = policy.stop_signal();
    // Asked before the signal is sent: running the handler may remove it (SA_RESETHAND).
    let is_deaf = own.pid.is_first() && is_deaf(own, signal);
    // To the process, not to this thread: any thread that does not block the signal may take it.
    // The next steps follow in case the signal is refused (seccomp) or has no effect (blocked,
    // SIG_IGN).
    let _ = own.pid.signal(signal);
    if is_deaf && !sys::is_pending(signal.as_raw()) {
        // The kernel has dropped the signal, so no thread here can react to it. End the process as
        // the signal would end any other process.
        sys::exit_now(BY_SIGNAL + signal.as_raw());
    }
    // An error means that there is no way to wait. Then the grace period is over.
    if cancel.sleeps(policy.grace_period()).unwrap_or(false) {
        return;
    }
    let _ = own.pid.signal(Signal::KILL);
    // Still here: pid 1 of a PID namespace gets no SIGKILL from within, or a filter refuses it. Do
    // not use `process::exit`, whose atexit functions can hang.
    sys::exit_now(BY_SIGNAL + Signal::KILL.as_raw())
}

/// Whether the kernel drops the signal because this process is pid 1 and does not handle it, though
/// it would end any other process.
fn is_deaf(own: &Own, signal: Signal) -> bool {
    ends_a_process(signal)
        && match &own.first {
            Some(first) => first.is_deaf_to(signal).unwrap_or(false),
            None => sys::has_default_action(signal).unwrap_or(false),
        }
}

/// Whether the signal's default action ends a process: see signal(7).
fn ends_a_process(signal: Signal) -> bool {
    !matches!(
        signal,
        Signal::CHILD
            | Signal::CONT
            | Signal::URG
            | Signal::WINCH
            | Signal::STOP
            | Signal::TSTP
            | Signal::TTIN
            | Signal::TTOU
    )
}
