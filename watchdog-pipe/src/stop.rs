//! How a process ends itself when it cannot count on anything else in it.

use rustix::process::Signal;

use crate::cancel::Cancel;
use crate::reserve::Own;
use crate::{StopPolicy, sys};

/// What a shell shows for a process that a signal ended, less the signal's number.
const BY_SIGNAL: i32 = 128;

/// Stops this process; returns only if it is cancelled within the grace period.
///
/// It allocates nothing, takes no lock, and needs no descriptor. What its calls answer decides
/// nothing but how it goes on.
pub(crate) fn this_process(own: &Own, policy: StopPolicy, cancel: &Cancel) {
    let signal = policy.stop_signal();
    // Before it is sent: a handler may go as it runs (SA_RESETHAND).
    let is_deaf = own.pid.is_first() && is_deaf(own, signal);
    // To the process, not to this thread: any thread that does not block it may take it. That it is
    // refused (seccomp) or without effect (blocked, SIG_IGN) is what the next steps are for.
    let _ = own.pid.signal(signal);
    if is_deaf && !sys::is_pending(signal.as_raw()) {
        // The kernel has dropped it: nobody here will ever know of it. This is what it does to
        // every other process.
        sys::exit_now(BY_SIGNAL + signal.as_raw());
    }
    // An error leaves no way to wait: the grace is over.
    if cancel.sleeps(policy.grace_period()).unwrap_or(false) {
        return;
    }
    let _ = own.pid.signal(Signal::KILL);
    // Still here: pid 1 of a PID namespace gets no SIGKILL from within, or a filter refuses it. Not
    // `process::exit`, whose atexit functions can hang.
    sys::exit_now(BY_SIGNAL + Signal::KILL.as_raw())
}

/// Whether the kernel drops a signal that would end any other process, because this one is pid 1
/// and does nothing about it.
fn is_deaf(own: &Own, signal: Signal) -> bool {
    ends_a_process(signal)
        && match &own.first {
            Some(first) => first.is_deaf_to(signal).unwrap_or(false),
            None => sys::has_default_action(signal).unwrap_or(false),
        }
}

/// Whether that is its default action: see signal(7).
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
