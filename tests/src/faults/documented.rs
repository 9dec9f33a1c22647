//! What the documentation says of faults that are no errors, or that come as errors of another
//! number.

use super::spec::Fault;
use super::told::{Facts, Refusal};

/// Why a fact may be another one under this fault.
#[must_use]
pub fn fallback(fault: &Fault, fact: &str, clean: &Facts, seen: &Facts) -> Option<&'static str> {
    let is_less = |name: &str| {
        let of = |facts: &Facts| facts.get(name).cloned().unwrap_or_default();
        of(clean).contains("BEFORE_TEARDOWN") && !of(seen).contains("BEFORE_TEARDOWN")
    };
    let follows_pipe = is_less("guarantees") || is_less("child watchdog");
    let now = seen.get(fact).map_or("", String::as_str);
    match (fact, fault.call) {
        ("guarantees" | "child watchdog" | "child fds" | "fds", _) if follows_pipe => {
            Some("Builder::sentinel: the pipe does alone, and the guarantees say so")
        }
        ("killed" | "left", _) if now == "None" => Some("Tally::count: it cannot be known"),
        ("killed", libc::SYS_pidfd_open) if matches!(fault.errno, libc::ESRCH | libc::EINVAL) => {
            Some("StopReport::killed: one that ends meanwhile may be missing")
        }
        ("killed", libc::SYS_openat)
            if matches!(
                fault.errno,
                libc::ENOENT | libc::ENODEV | libc::EACCES | libc::EPERM
            ) =>
        {
            Some("what is gone or hidden is not found, and is killed after the grace")
        }
        ("status" | "killed", libc::SYS_kill | libc::SYS_pidfd_send_signal) => {
            Some("StopPolicy: whom the stop signal does not reach is killed after the grace")
        }
        ("status", _) if now == "unknown" => Some("Exit::status: it is not ours to know"),
        ("events" | "killed", libc::SYS_write | libc::SYS_sendto)
            if matches!(fault.errno, libc::EAGAIN | libc::EPIPE) =>
        {
            Some("--status-fd: one that does not read loses reports")
        }
        ("status", libc::SYS_rt_sigprocmask) if now == "exit status: 143" => {
            Some("--exit=mirror: where the signal does not end it, the code of a shell")
        }
        _ => None,
    }
}

/// Of `EBADF` to `F_GETFD`.
pub const CLOSES_WHAT_IS_OPEN: &str =
    "std, in debug builds, ends a process whose descriptor was closed behind its back";

/// Of rseq(2), said on standard error where that is open.
pub const NO_RSEQ: &str = "the C library ends a process whose new thread has no rseq(2)";

/// Which library below ours ends the process for this fault.
#[must_use]
pub fn below(fault: &Fault, output: &str) -> Option<&'static str> {
    let says = |text: &str| output.contains(text);
    match fault.call {
        libc::SYS_rseq if says("rseq registration failed") => Some(NO_RSEQ),
        libc::SYS_futex if says("The futex facility returned an unexpected error code") => {
            Some("the C library ends a process whose futex(2) fails in a way that cannot be")
        }
        libc::SYS_close if says("unexpected error during closedir") => {
            Some("std ends a process whose folder cannot be closed")
        }
        libc::SYS_mmap | libc::SYS_munmap if says("memory allocation of") => {
            Some("Rust ends a process that has no memory left")
        }
        _ => None,
    }
}

/// Why a process may hold more than without the fault.
#[must_use]
pub fn held(fault: &Fault, at: &str) -> Option<&'static str> {
    let is_waking = fault.call == libc::SYS_write && at.contains("anon_inode:[eventfd]");
    is_waking.then_some("Watcher::shutdown: where write(2) is refused, the thread stays")
}

/// Why an error may have another number than the fault.
#[must_use]
pub fn error(fault: &Fault, refusal: &Refusal) -> Option<&'static str> {
    let says = |text: &str| refusal.text.contains(text);
    let is_again = refusal.errno == Some(libc::EAGAIN);
    let is_start = matches!(
        refusal.stage.as_str(),
        "exit status: 126" | "exit status: 127"
    );
    match fault.call {
        libc::SYS_mmap | libc::SYS_mprotect | libc::SYS_clone | libc::SYS_clone3 if is_again => {
            Some("pthread_create(3) says so for want of memory")
        }
        libc::SYS_openat if says("not a regular file") => Some("what stands there is no file"),
        libc::SYS_newfstatat if says("are born in another PID or time namespace") => {
            Some("Stage::Identity: Unsupported")
        }
        libc::SYS_epoll_pwait if refusal.stage == "ShutDown" => {
            Some("a watcher whose thread cannot wait any more is shut down")
        }
        libc::SYS_waitid if says("died before its exec") => {
            Some("waitid(2) says that it has not become the program: it is killed")
        }
        libc::SYS_fcntl if fault.errno == libc::EINVAL && refusal.errno == Some(libc::EMFILE) => {
            Some("F_DUPFD says so of a number at the limit")
        }
        libc::SYS_pidfd_open if refusal.stage == "Gone" => Some("AdoptError::Gone"),
        libc::SYS_execve if refusal.what == "watchdog-shim" && is_start => {
            Some("exit codes 126 and 127, with the reason in words")
        }
        _ => None,
    }
}
