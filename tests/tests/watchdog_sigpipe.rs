//! A child that is gone cannot hurt its parent: no SIGPIPE, whatever the parent made of that
//! signal.

use std::sync::atomic::{AtomicU32, Ordering};

use watchdog_pipe::Keepalive;
use workspace_tests::fork::Fork;
use workspace_tests::{alone, seccomp};

/// The first link starts a thread, and with the first thread of a process the C library takes a
/// signal of its own.
fn first_link() {
    drop(watchdog_pipe::channel());
}

/// As on kernels before 6.18, which do not know `RWF_NOSIGNAL`, and behind a filter: the same
/// promises hold by way of the signal mask.
fn before_6_18(case: impl Fn()) {
    for errno in [libc::EOPNOTSUPP, libc::ENOSYS, libc::EPERM] {
        Fork::run(|| {
            seccomp::refuse(&[(libc::SYS_pwritev2, errno)]);
            case();
        })
        .succeeds();
    }
}

#[test]
fn words_are_said_on_older_kernels_too() {
    alone!({
        first_link();
        before_6_18(words_are_said);
    });
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

#[test]
fn dead_child_raises_no_sigpipe_where_that_would_kill() {
    alone!({
        first_link();
        with(libc::SIG_DFL, false);
    });
}

#[test]
fn dead_child_raises_no_sigpipe_where_it_is_ignored() {
    alone!({
        first_link();
        with(libc::SIG_IGN, false);
    });
}

#[test]
fn dead_child_raises_no_sigpipe_where_it_is_handled() {
    alone!({
        first_link();
        with(count_it as *const () as usize, false);
    });
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

#[test]
fn dead_child_leaves_no_sigpipe_pending_where_it_is_blocked() {
    alone!({
        first_link();
        with(count_it as *const () as usize, true);
    });
}

#[test]
fn dead_child_leaves_no_sigpipe_pending_where_it_is_blocked_and_would_kill() {
    alone!({
        first_link();
        with(libc::SIG_DFL, true);
    });
}

#[test]
fn dead_child_raises_no_sigpipe_on_older_kernels_either() {
    alone!({
        first_link();
        let handler = count_it as *const () as usize;
        for (disposition, blocked) in [
            (libc::SIG_DFL, false),
            (libc::SIG_IGN, false),
            (handler, false),
            (handler, true),
            (libc::SIG_DFL, true),
        ] {
            before_6_18(|| with(disposition, blocked));
        }
    });
}

#[test]
fn sigpipe_that_was_pending_before_is_left_alone() {
    alone!({
        first_link();
        one_that_was_pending_is_left_alone();
    });
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

#[test]
fn pending_signals_are_left_alone_on_older_kernels_too() {
    alone!({
        first_link();
        before_6_18(one_that_was_pending_is_left_alone);
        before_6_18(other_signals_are_left_alone);
    });
}

#[test]
fn other_pending_signals_are_left_alone() {
    alone!({
        first_link();
        other_signals_are_left_alone();
    });
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
