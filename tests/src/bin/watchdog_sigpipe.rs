//! A child that is gone cannot hurt its parent: no SIGPIPE, whatever the parent made of that signal.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};

use watchdog_pipe::Keepalive;
use workspace_tests::fork::Fork;
use workspace_tests::{scenario, seccomp};

fn main() -> ExitCode {
    // The first link starts a thread, and with the first thread of a process the C library takes a signal of its own.
    drop(watchdog_pipe::channel());
    scenario::run(&[
        ("default", || with(libc::SIG_DFL, false)),
        ("ignored", || with(libc::SIG_IGN, false)),
        ("handled", || with(count_it as *const () as usize, false)),
        ("blocked", || with(count_it as *const () as usize, true)),
        ("blocked-default", || with(libc::SIG_DFL, true)),
        ("pending", one_that_was_pending_is_left_alone),
        ("others", other_signals_are_left_alone),
        // The same on kernels before 6.18, which do not know RWF_NOSIGNAL, and behind a filter.
        ("old-default", || before_6_18(|| with(libc::SIG_DFL, false))),
        ("old-ignored", || before_6_18(|| with(libc::SIG_IGN, false))),
        ("old-handled", || {
            before_6_18(|| with(count_it as *const () as usize, false))
        }),
        ("old-blocked", || {
            before_6_18(|| with(count_it as *const () as usize, true))
        }),
        ("old-blocked-default", || {
            before_6_18(|| with(libc::SIG_DFL, true))
        }),
        ("old-pending", || {
            before_6_18(one_that_was_pending_is_left_alone)
        }),
        ("old-others", || before_6_18(other_signals_are_left_alone)),
        ("old-word", || before_6_18(words_are_said)),
    ])
}

fn before_6_18(scenario: fn()) {
    for errno in [libc::EOPNOTSUPP, libc::ENOSYS, libc::EPERM] {
        Fork::run(|| {
            seccomp::refuse(&[(libc::SYS_pwritev2, errno)]);
            scenario();
        })
        .succeeds();
    }
}

/// Each word, and each one once.
fn words_are_said() {
    type End = (fn(Keepalive), &'static [u8]);
    let ends: [End; 3] = [
        (drop, b"wd:drop\n"),
        (
            |keepalive| assert!(keepalive.release().is_ok()),
            b"wd:free\n",
        ),
        (
            |keepalive| drop(keepalive.hand_over().expect("hand over")),
            b"wd:hand\n",
        ),
    ];
    for (end, word) in ends {
        let (keepalive, setup) = watchdog_pipe::channel().expect("channel");
        end(keepalive);
        let mut said = [0; 64];
        let (read, _) = setup.fds().next().expect("one descriptor");
        let count = rustix::io::read(read, &mut said).expect("read");
        assert_eq!(&said[..count], word);
    }
}

static HANDLED: AtomicU32 = AtomicU32::new(0);

extern "C" fn count_it(_: libc::c_int) {
    HANDLED.fetch_add(1, Ordering::SeqCst);
}

/// A link whose child is gone.
fn dead_link() -> Keepalive {
    let (keepalive, setup) = watchdog_pipe::channel().expect("channel");
    drop(setup);
    keepalive
}

/// Every way to speak to a dead child.
fn speak() {
    let refused = dead_link().release().expect_err("nobody is there");
    let (keepalive, error) = refused.into_parts();
    assert_eq!(error.raw_os_error(), Some(libc::EPIPE));
    // It came back whole.
    let refused = keepalive.release().expect_err("nobody is there");
    let (keepalive, error) = refused.into_parts();
    assert_eq!(error.raw_os_error(), Some(libc::EPIPE));
    drop(keepalive);
    let refused = dead_link().hand_over().expect_err("nobody is there");
    let (keepalive, error) = refused.into_parts();
    assert_eq!(error.raw_os_error(), Some(libc::EPIPE));
    drop(keepalive);
    drop(dead_link());
}

fn with(disposition: libc::sighandler_t, blocked: bool) {
    // SAFETY: the disposition is SIG_DFL, SIG_IGN or a handler that is async-signal-safe.
    unsafe { libc::signal(libc::SIGPIPE, disposition) };
    if blocked {
        mask(libc::SIG_BLOCK, libc::SIGPIPE);
    }
    let before = signals();
    speak();
    assert_eq!(signals(), before);
    // One that was left pending would arrive now, and end this process or be counted.
    mask(libc::SIG_UNBLOCK, libc::SIGPIPE);
    assert_eq!(HANDLED.load(Ordering::SeqCst), 0);
}

/// Blocked, and pending for this thread, before the crate is called: it is somebody's, and stays.
fn one_that_was_pending_is_left_alone() {
    // SAFETY: the handler is async-signal-safe; raise(3) sends to this thread.
    unsafe {
        libc::signal(libc::SIGPIPE, count_it as *const () as usize);
        mask(libc::SIG_BLOCK, libc::SIGPIPE);
        libc::raise(libc::SIGPIPE);
    }
    let before = signals();
    speak();
    assert_eq!(signals(), before);
    assert_eq!(HANDLED.load(Ordering::SeqCst), 0);
    mask(libc::SIG_UNBLOCK, libc::SIGPIPE);
    assert_eq!(HANDLED.load(Ordering::SeqCst), 1);
}

/// What else is pending is none of the crate's business.
fn other_signals_are_left_alone() {
    // SAFETY: as above.
    unsafe {
        libc::signal(libc::SIGUSR1, count_it as *const () as usize);
        mask(libc::SIG_BLOCK, libc::SIGUSR1);
        libc::raise(libc::SIGUSR1);
    }
    let before = signals();
    speak();
    assert_eq!(signals(), before);
    mask(libc::SIG_UNBLOCK, libc::SIGUSR1);
    assert_eq!(HANDLED.load(Ordering::SeqCst), 1);
}

/// This thread's pending and blocked signals, and the process's ignored and caught ones.
fn signals() -> Vec<String> {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("status");
    let of_signals = |line: &&str| line.starts_with("Sig") || line.starts_with("ShdPnd");
    // SigQ counts the queued ones of the whole user.
    let lines = status
        .lines()
        .filter(of_signals)
        .filter(|line| !line.starts_with("SigQ"));
    lines.map(str::to_owned).collect()
}

fn mask(how: i32, signal: i32) {
    // SAFETY: sigemptyset initialises the set before it is used.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        assert_eq!(
            libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut()),
            0
        );
    }
}
