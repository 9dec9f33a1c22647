//! A child that is pid 1: the kernel drops a signal there that nobody handles, and a grace would be
//! slept for nothing.

use std::time::Duration;

use watchdog_pipe::{Signal, StopPolicy};
use workspace_tests::orphan::{Birth, Flag, Pair};
use workspace_tests::{alone_in_pid_namespace, namespace};

const GRACE: Duration = Duration::from_millis(300);
/// Longer than any test: what ends a process is not the end of it.
const ENDLESS: Duration = Duration::from_secs(600);

const PID_1: Birth = Birth {
    sentinel: true,
    as_pid_1: true,
};

fn sleep_for_ever() -> ! {
    loop {
        std::thread::sleep(ENDLESS);
    }
}

fn set_of(signal: libc::c_int) -> libc::sigset_t {
    // SAFETY: sigemptyset initialises the set before it is used.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        set
    }
}

fn block(signal: libc::c_int) {
    let set = set_of(signal);
    // SAFETY: the set is valid for the call.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
}

/// Waits for the signal as a program in good order does, which takes its time to end then.
fn end_on(signal: libc::c_int) -> ! {
    let (set, mut taken) = (set_of(signal), 0);
    // SAFETY: the set and the place for the answer are valid for the call.
    unsafe { libc::sigwait(&raw const set, &raw mut taken) };
    std::thread::sleep(GRACE);
    std::process::exit(42)
}

extern "C" fn end_in_good_order(_: libc::c_int) {
    // SAFETY: nanosleep(2) and _exit(2) are async-signal-safe, and what the first reads is valid.
    unsafe {
        let a_moment = libc::timespec {
            tv_sec: 0,
            tv_nsec: 300_000_000,
        };
        libc::nanosleep(&raw const a_moment, std::ptr::null_mut());
        libc::_exit(42)
    }
}

/// Handles SIGTERM once: the kernel takes the handler away as it runs it.
fn handle_once() {
    // SAFETY: the action is initialised, and its handler is async-signal-safe.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = end_in_good_order as *const () as usize;
        action.sa_flags = libc::SA_RESETHAND;
        assert_eq!(
            libc::sigaction(libc::SIGTERM, &raw const action, std::ptr::null_mut()),
            0
        );
    }
}

/// Starts a pid 1 that prepares itself, is protected, and then does what it does; its exit code
/// once its parent is gone, and how long that took at least.
fn code_of(grace: Duration, signal: Signal, prepare: fn(), then: fn() -> !) -> (i32, Duration) {
    let ready = Flag::new();
    let pair = Pair::start(PID_1, |watchdog| {
        assert_eq!(std::process::id(), 1);
        prepare();
        let policy = StopPolicy::new().signal(signal).grace(grace);
        let _monitor = watchdog.enforce(policy).expect("enforce");
        ready.set(1);
        then();
    });
    ready.wait();
    let (status, elapsed) = pair.kill_the_parent();
    (status.code().unwrap_or_else(|| panic!("{status}")), elapsed)
}

#[test]
fn pid_1_that_nothing_tells_of_its_stop_signal_ends_at_once() {
    alone_in_pid_namespace!({
        let (code, _) = code_of(ENDLESS, Signal::TERM, || (), sleep_for_ever);
        assert_eq!(code, 128 + libc::SIGTERM);
        let (code, _) = code_of(ENDLESS, Signal::INT, || (), sleep_for_ever);
        assert_eq!(code, 128 + libc::SIGINT);
        let (code, _) = code_of(ENDLESS, Signal::KILL, || (), sleep_for_ever);
        assert_eq!(code, 128 + libc::SIGKILL);
    });
}

#[test]
fn pid_1_that_handles_its_stop_signal_has_its_grace() {
    alone_in_pid_namespace!({
        let (code, _) = code_of(ENDLESS, Signal::TERM, handle_once, sleep_for_ever);
        assert_eq!(code, 42);
    });
}

// The mask of the first thread decides whether the kernel keeps the signal. A thread that waits for
// one has it open.
#[test]
fn pid_1_that_waits_for_its_stop_signal_has_its_grace() {
    alone_in_pid_namespace!({
        for _ in 0..5 {
            let wait = || end_on(libc::SIGTERM);
            let (code, _) = code_of(ENDLESS, Signal::TERM, || block(libc::SIGTERM), wait);
            assert_eq!(code, 42);
            // In another thread, while the first one only blocks it.
            let prepare = || {
                block(libc::SIGTERM);
                std::thread::spawn(|| end_on(libc::SIGTERM));
            };
            let (code, _) = code_of(ENDLESS, Signal::TERM, prepare, sleep_for_ever);
            assert_eq!(code, 42);
        }
    });
}

#[test]
fn pid_1_that_ignores_its_stop_signal_has_its_grace() {
    alone_in_pid_namespace!({
        let ignore = || {
            // SAFETY: SIG_IGN is a disposition that any signal but two may have.
            unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
        };
        let (code, elapsed) = code_of(GRACE, Signal::TERM, ignore, sleep_for_ever);
        assert_eq!(code, 128 + libc::SIGKILL);
        assert!(elapsed >= GRACE, "{elapsed:?}");
        // A signal that does nothing by default does nothing here either.
        let (code, elapsed) = code_of(GRACE, Signal::URG, || (), sleep_for_ever);
        assert_eq!(code, 128 + libc::SIGKILL);
        assert!(elapsed >= GRACE, "{elapsed:?}");
    });
}

// Without /proc, sigaction(2) tells whether there is a handler, and sigpending(2) whether the
// signal was kept.
#[test]
fn pid_1_without_proc_knows_as_well() {
    alone_in_pid_namespace!({
        if !namespace::unshare_mounts() {
            return;
        }
        namespace::mount_empty_proc();
        let (code, _) = code_of(ENDLESS, Signal::TERM, || (), sleep_for_ever);
        assert_eq!(code, 128 + libc::SIGTERM);
        let (code, _) = code_of(ENDLESS, Signal::TERM, handle_once, sleep_for_ever);
        assert_eq!(code, 42);
        let (code, elapsed) = code_of(GRACE, Signal::TERM, || block(libc::SIGTERM), sleep_for_ever);
        assert_eq!(code, 128 + libc::SIGKILL);
        assert!(elapsed >= GRACE, "{elapsed:?}");
    });
}
