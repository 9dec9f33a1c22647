//! The threads of a protection: how many there is room for, what reaches them, and what they leave.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::Duration;

use watchdog_pipe::{Guarantees, Monitor, StopPolicy, Watchdog};
use workspace_tests::fork::Fork;
use workspace_tests::orphan::{Birth, Flag, Pair};
use workspace_tests::{alone_in_pid_namespace, random, until};

const WITH_SENTINEL: Birth = Birth {
    sentinel: true,
    as_pid_1: false,
};

/// A user of whom chance has it that the caller is the only process, with room for as many threads.
fn become_a_user_with(threads: u64) {
    let chance = u32::try_from(random().u64(..1_000_000_000)).expect("a small number");
    let user = 1_000_000 + chance;
    // SAFETY: plain numbers, and a structure that is valid for the call; this process has one
    // thread.
    unsafe {
        assert_eq!(libc::setresuid(user, user, user), 0);
        let limit = libc::rlimit {
            rlim_cur: threads,
            rlim_max: threads,
        };
        assert_eq!(libc::setrlimit(libc::RLIMIT_NPROC, &raw const limit), 0);
    }
}

fn sleep_for_ever() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(600));
    }
}

/// A child that is protected with room for so many threads more, and has checked what came of that.
fn with_room_for(
    threads: u64,
    protect: fn(Watchdog) -> std::io::Result<Monitor>,
    check: fn(std::io::Result<Monitor>),
) -> Pair {
    let ready = Flag::new();
    let pair = Pair::start(WITH_SENTINEL, |watchdog| {
        become_a_user_with(1 + threads);
        let checked = std::panic::catch_unwind(AssertUnwindSafe(|| check(protect(watchdog))));
        ready.set(if checked.is_ok() { FINE } else { WRONG });
        sleep_for_ever();
    });
    assert_eq!(ready.wait(), FINE);
    pair
}

const FINE: u32 = 1;

const WRONG: u32 = 2;

fn ends_with_its_parent(pair: Pair) {
    let (status, _) = pair.kill_the_parent();
    assert_eq!(status.code(), Some(42), "{status}");
}

extern "C" fn exit_42(_: libc::c_int) {
    // SAFETY: _exit(2) is async-signal-safe.
    unsafe { libc::_exit(42) };
}

fn enforce(watchdog: Watchdog) -> std::io::Result<Monitor> {
    // SAFETY: the handler is async-signal-safe.
    unsafe { libc::signal(libc::SIGTERM, exit_42 as *const () as libc::sighandler_t) };
    watchdog.enforce(StopPolicy::new())
}

fn call_back(watchdog: Watchdog) -> std::io::Result<Monitor> {
    watchdog.on_verdict(|_| std::process::exit(42))
}

fn has_both_threads(monitor: std::io::Result<Monitor>) {
    assert_eq!(
        monitor.expect("two threads").guarantees(),
        Guarantees::all()
    );
}

fn has_the_pipes_thread(monitor: std::io::Result<Monitor>) {
    let promised = monitor.expect("one thread").guarantees();
    assert_eq!(promised, Guarantees::END_IS_TOLD);
}

#[test]
fn room_for_one_thread_is_the_pipes() {
    alone_in_pid_namespace!({
        for protect in [enforce, call_back] {
            ends_with_its_parent(with_room_for(2, protect, has_both_threads));
            ends_with_its_parent(with_room_for(1, protect, has_the_pipes_thread));
        }
    });
}

#[test]
fn no_room_for_a_thread_is_an_error() {
    alone_in_pid_namespace!({
        for protect in [enforce, call_back] {
            with_room_for(0, protect, |monitor| {
                let error = monitor.map(drop).expect_err("no thread");
                assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
            });
        }
    });
}

static MAIN_THREAD: AtomicI32 = AtomicI32::new(0);

static ON_MAIN: AtomicU32 = AtomicU32::new(0);

static ELSEWHERE: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: libc::c_int) {
    // SAFETY: gettid(2) is async-signal-safe.
    let here = unsafe { libc::gettid() };
    let counter = if here == MAIN_THREAD.load(Ordering::Relaxed) {
        &ON_MAIN
    } else {
        &ELSEWHERE
    };
    counter.fetch_add(1, Ordering::Relaxed);
}

// The mask is there before the thread is: whoever blocks signals inside of it is late.
#[test]
fn threads_run_no_handler_of_the_program_while_they_start() {
    alone_in_pid_namespace!({
        let told = Flag::new();
        let pair = Pair::start(WITH_SENTINEL, |watchdog| {
            // SAFETY: the handler is async-signal-safe.
            unsafe {
                MAIN_THREAD.store(libc::gettid(), Ordering::Relaxed);
                libc::signal(libc::SIGUSR1, count as *const () as libc::sighandler_t);
            }
            let mut watchdog = Some(watchdog);
            for _ in 0..100 {
                // Each in a copy: a watchdog is adopted once. The copy's threads are as new, and so
                // is its flood.
                let watchdog = &mut watchdog;
                let mut copy = Fork::run(move || {
                    let own = std::process::id().cast_signed();
                    // SAFETY: as above.
                    unsafe { MAIN_THREAD.store(libc::gettid(), Ordering::Relaxed) };
                    let flood = Fork::run(move || {
                        loop {
                            // So that the one who is hit gets on.
                            (0..2_000).for_each(|_| std::hint::spin_loop());
                            // SAFETY: kill(2) has no memory effect; the number is this copy's
                            // parent, which outlives it.
                            unsafe { libc::kill(own, libc::SIGUSR1) };
                        }
                    });
                    until("signals come", || {
                        (ON_MAIN.load(Ordering::Relaxed) > 0).then_some(())
                    });
                    let watchdog = watchdog.take().expect("the copy");
                    let monitor = watchdog.on_verdict(|_| ()).expect("two threads");
                    assert_eq!(monitor.cancel(), None);
                    drop(flood);
                    assert_eq!(ELSEWHERE.load(Ordering::Relaxed), 0);
                });
                assert!(copy.wait().success());
            }
            told.set(1);
            sleep_for_ever();
        });
        told.wait();
        drop(pair);
    });
}

/// What a panic is raised with.
struct Payload(Arc<AtomicU32>);

impl Drop for Payload {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn payload_of_a_callback_that_panicked_is_dropped() {
    alone_in_pid_namespace!({
        let told = Flag::new();
        let ready = Flag::new();
        let mut pair = Pair::start(WITH_SENTINEL, |watchdog| {
            let drops = Arc::new(AtomicU32::new(0));
            let payload = Payload(Arc::clone(&drops));
            let panics = move |_| std::panic::panic_any(payload);
            let _monitor = watchdog.on_verdict(panics).expect("enforce");
            ready.set(1);
            until("the payload is dropped", || {
                (drops.load(Ordering::SeqCst) == 1).then_some(())
            });
            told.set(1);
            sleep_for_ever();
        });
        ready.wait();
        pair.release();
        told.wait();
    });
}
