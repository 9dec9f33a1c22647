//! How a process ends itself when it cannot count on anything else in it.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Signal, getpid, kill_process};

use crate::{StopPolicy, poll, sys};

/// What a shell shows for a process that SIGKILL ended.
const KILLED: i32 = 128 + 9;

/// Stops this process; returns only if `cancel` becomes readable within the grace period.
pub(crate) fn this_process(policy: StopPolicy, cancel: BorrowedFd<'_>) {
    // To the process, not to this thread: any thread that does not block it may take it. That it is
    // refused (seccomp) or ignored (blocked, SIG_IGN, pid 1) is what the next steps are for.
    let _ = kill_process(getpid(), policy.stop_signal());
    if cancelled_within(policy, cancel) {
        return;
    }
    let _ = kill_process(getpid(), Signal::KILL);
    // Still here: pid 1 of a PID namespace gets no SIGKILL from within. Not `process::exit`, whose
    // atexit functions can hang.
    sys::exit_now(KILLED)
}

fn cancelled_within(policy: StopPolicy, cancel: BorrowedFd<'_>) -> bool {
    let deadline = Instant::now().checked_add(policy.grace_period());
    let mut fds = [PollFd::from_borrowed_fd(cancel, PollFlags::IN)];
    // An error leaves no way to wait: the grace is over.
    poll::until(&mut fds, deadline).unwrap_or(false)
}
