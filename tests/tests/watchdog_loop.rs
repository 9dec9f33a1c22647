//! The watchdog in an event loop, and under a deadline. The watchdog is a fork's, the keepalive its
//! parent's.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use watchdog_pipe::{Keepalive, Verdict, Watchdog};
use workspace_tests::fork::{Cue, Fork};
use workspace_tests::{alone, time_limit};

/// A child with the watchdog, this process with the keepalive. The child waits for one cue or more.
fn supervised(
    parent: impl FnOnce(Keepalive, &mut Cue),
    child: impl FnOnce(&mut Watchdog, &mut Cue),
) {
    let (keepalive, setup) = watchdog_pipe::channel().expect("channel");
    let (mut ours, theirs) = Cue::pair();
    let mut copies = Some((keepalive, setup, theirs));
    let forked = Fork::run(|| {
        let (keepalive, setup, mut cue) = copies.take().expect("the copies");
        drop(keepalive);
        let (fd, _) = setup.fds().next().expect("one descriptor");
        let fd = fd.try_clone_to_owned().expect("dup");
        child(&mut Watchdog::from_fd(fd).expect("adopt"), &mut cue);
    });
    let (keepalive, setup, theirs) = copies.expect("the originals");
    drop((setup, theirs));
    ours.take();
    parent(keepalive, &mut ours);
    forked.succeeds();
}

/// Closes the write end without a word, as an exit does.
fn end_by_exit(keepalive: Keepalive) {
    drop(keepalive.hand_over().expect("hand over"));
}

fn is_readable(fd: BorrowedFd<'_>, timeout: Duration) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let timeout = Timespec::try_from(timeout).expect("a short time");
    poll(&mut fds, Some(&timeout)).expect("poll") > 0
}

fn readable(watchdog: &Watchdog) {
    assert!(is_readable(watchdog.as_fd(), time_limit()));
}

/// Level, not edge: as often as one looks.
fn readable_for_ever(watchdog: &Watchdog) {
    readable(watchdog);
    for _ in 0..100 {
        assert!(is_readable(watchdog.as_fd(), Duration::ZERO));
    }
}

fn in_epoll(flags: epoll::EventFlags) {
    supervised(
        |keepalive, cue| {
            // A word that is none, the real one only when the loop has dealt with that.
            let write = keepalive.hand_over().expect("hand over");
            cue.take();
            drop(Keepalive::from_fd(write).expect("take it back"));
        },
        |watchdog, cue| {
            let event_loop = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
            let token = epoll::EventData::new_u64(7);
            epoll::add(&event_loop, &*watchdog, token, flags).expect("add");
            let mut buffer = Vec::with_capacity(4);
            let mut events = |timeout: Duration| {
                buffer.clear();
                let timeout = Timespec::try_from(timeout).expect("a short time");
                let spare = rustix::buffer::spare_capacity(&mut buffer);
                epoll::wait(&event_loop, spare, Some(&timeout)).expect("epoll_wait");
                buffer.iter().filter(|event| event.data.u64() == 7).count()
            };
            assert_eq!(
                events(Duration::ZERO),
                0,
                "readable before anything happened"
            );
            cue.give();
            // The hand-over: an event, and no verdict.
            assert_eq!(events(time_limit()), 1);
            assert_eq!(watchdog.try_wait().expect("look"), None);
            assert_eq!(events(Duration::ZERO), 0, "readable after it was looked at");
            cue.give();
            assert_eq!(events(time_limit()), 1);
            // The word is an event, and the close after it may be one more.
            let told = watchdog.wait().expect("wait");
            assert_eq!(told, Verdict::KeepaliveDropped);
            if flags.contains(epoll::EventFlags::ET) {
                // A loop that registers it late, or anew, is told as well.
                epoll::delete(&event_loop, &*watchdog).expect("delete");
                epoll::add(&event_loop, &*watchdog, token, flags).expect("add");
            }
            assert_eq!(events(Duration::ZERO), 1);
            readable_for_ever(watchdog);
        },
    );
}

#[test]
fn level_triggered_loop_is_told_of_the_verdict() {
    alone!({
        in_epoll(epoll::EventFlags::IN);
    });
}

#[test]
fn edge_triggered_loop_is_told_of_the_verdict() {
    alone!({
        in_epoll(epoll::EventFlags::IN | epoll::EventFlags::ET);
    });
}

#[test]
fn descriptor_stays_readable_after_a_death() {
    alone!({
        supervised(
            |keepalive, _| end_by_exit(keepalive),
            |watchdog, cue| {
                cue.give();
                // As an event loop does it: the hand-over makes it readable too.
                let told = loop {
                    readable(watchdog);
                    if let Some(verdict) = watchdog.try_wait().expect("look") {
                        break verdict;
                    }
                };
                assert_eq!(told, Verdict::ParentExited);
                readable_for_ever(watchdog);
            },
        );
    });
}

/// After a word, the pipe itself is quiet as long as anybody holds the write end. The descriptor is
/// asked for before the verdict or, for the first time, after it.
fn stays_readable_while_a_sibling_holds_the_write_end(asked_before: bool) {
    supervised(
        |keepalive, cue| {
            let mut copy = Some(keepalive);
            let sibling = Fork::run(|| {
                let _held = copy.take();
                std::thread::park();
            });
            drop(copy);
            cue.take();
            drop(sibling);
        },
        |watchdog, cue| {
            let event_loop = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
            if asked_before {
                let token = epoll::EventData::new_u64(7);
                epoll::add(&event_loop, &*watchdog, token, epoll::EventFlags::IN).expect("add");
            }
            cue.give();
            assert_eq!(watchdog.wait().expect("wait"), Verdict::KeepaliveDropped);
            // Registered long ago, and not asked for again.
            assert_eq!(
                is_readable(event_loop.as_fd(), Duration::ZERO),
                asked_before
            );
            readable_for_ever(watchdog);
            assert_eq!(
                watchdog.try_wait().expect("look"),
                Some(Verdict::KeepaliveDropped)
            );
            readable_for_ever(watchdog);
            cue.give();
        },
    );
}

#[test]
fn descriptor_stays_readable_while_a_forked_sibling_holds_the_write_end() {
    alone!({
        stays_readable_while_a_sibling_holds_the_write_end(true);
    });
}

#[test]
fn descriptor_asked_for_after_the_verdict_is_readable_while_a_sibling_holds_the_write_end() {
    alone!({
        stays_readable_while_a_sibling_holds_the_write_end(false);
    });
}

#[test]
fn readiness_without_a_verdict_is_cleared_by_looking() {
    alone!({
        supervised(
            |keepalive, cue| {
                let write = keepalive.hand_over().expect("hand over");
                // More than one read takes.
                rustix::io::write(&write, &[b'?'; 2000]).expect("stray bytes");
                cue.give();
                cue.take();
                // Half a word now, and half later.
                rustix::io::write(&write, b"wd:d").expect("half a word");
                cue.give();
                cue.take();
                rustix::io::write(&write, b"rop\n").expect("the other half");
                cue.take();
            },
            |watchdog, cue| {
                cue.give();
                for _ in 0..2 {
                    cue.take();
                    assert!(is_readable(watchdog.as_fd(), time_limit()));
                    assert_eq!(watchdog.try_wait().expect("look"), None);
                    assert!(!is_readable(watchdog.as_fd(), Duration::ZERO));
                    cue.give();
                }
                assert_eq!(watchdog.wait().expect("wait"), Verdict::KeepaliveDropped);
                cue.give();
            },
        );
    });
}

/// Lower bounds only: an upper one would be the scheduler's.
#[test]
fn timeout_is_never_early_though_signals_interrupt_it() {
    alone!({
        extern "C" fn nothing(_: libc::c_int) {}
        supervised(
            |_keepalive, cue| cue.take(),
            |watchdog, cue| {
                cue.give();
                // Interrupted every two milliseconds, without SA_RESTART.
                // SAFETY: the handler does nothing; both structures are initialised.
                unsafe {
                    let mut action: libc::sigaction = std::mem::zeroed();
                    action.sa_sigaction = nothing as *const () as usize;
                    libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut());
                    let every = libc::timeval {
                        tv_sec: 0,
                        tv_usec: 2_000,
                    };
                    let timer = libc::itimerval {
                        it_interval: every,
                        it_value: every,
                    };
                    libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut());
                }
                for micros in [1, 500, 1_500, 10_000, 50_000] {
                    let timeout = Duration::from_micros(micros);
                    let start = Instant::now();
                    assert_eq!(watchdog.wait_timeout(timeout).expect("wait"), None);
                    assert!(
                        start.elapsed() >= timeout,
                        "{:?} of {timeout:?}",
                        start.elapsed()
                    );
                }
                // SAFETY: the structure is initialised; zero stops the timer.
                unsafe {
                    let timer: libc::itimerval = std::mem::zeroed();
                    libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut());
                }
                cue.give();
            },
        );
    });
}

#[test]
fn timeout_of_zero_looks_once() {
    alone!({
        supervised(
            |keepalive, cue| {
                drop(keepalive);
                cue.give();
            },
            |watchdog, cue| {
                assert_eq!(watchdog.wait_timeout(Duration::ZERO).expect("wait"), None);
                cue.give();
                cue.take();
                let told = watchdog.wait_timeout(Duration::ZERO).expect("wait");
                assert_eq!(told, Some(Verdict::KeepaliveDropped));
            },
        );
    });
}

/// Neither an overflow nor a look without waiting.
#[test]
fn timeout_past_the_end_of_the_clock_is_none() {
    alone!({
        for timeout in [
            Duration::MAX,
            Duration::from_secs(i64::MAX as u64),
            Duration::from_millis(u64::MAX),
        ] {
            supervised(
                |keepalive, _| drop(keepalive),
                |watchdog, cue| {
                    cue.give();
                    let told = watchdog.wait_timeout(timeout).expect("wait");
                    assert_eq!(told, Some(Verdict::KeepaliveDropped));
                },
            );
        }
    });
}

#[test]
fn verdict_within_the_timeout_is_given() {
    alone!({
        supervised(
            |keepalive, _| assert!(keepalive.release().is_ok()),
            |watchdog, cue| {
                cue.give();
                assert_eq!(
                    watchdog.wait_timeout(time_limit()).expect("wait"),
                    Some(Verdict::Released)
                );
            },
        );
    });
}
