//! What a watchdog asks of the kernel after adoption, under real filters: no more than its front
//! page lists, and nothing is hit by mistake when a call fails.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use watchdog_pipe::{Signal, StopPolicy};
use workspace_tests::allow_list::trap_all_but;
use workspace_tests::fork::Fork;
use workspace_tests::orphan::{Birth, Flag, Pair};
use workspace_tests::proc_fs::{is_running, stat};
use workspace_tests::{alone_in_pid_namespace, seccomp, until};

const GRACE: Duration = Duration::from_millis(300);
/// Longer than any test: what ends a process is not the end of it.
const ENDLESS: Duration = Duration::from_secs(600);

/// The list of the front page: what a protection calls for as long as it runs.
const RUNNING: &[libc::c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(not(target_arch = "x86_64"))]
    libc::SYS_ppoll,
    libc::SYS_read,
    libc::SYS_futex,
    libc::SYS_kill,
];

/// What the start of its threads needs besides.
const START: &[libc::c_long] = &[
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_munmap,
    libc::SYS_brk,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_set_robust_list,
];

/// The end of a protection that was released.
const END: &[libc::c_long] = &[
    libc::SYS_rt_sigprocmask,
    libc::SYS_madvise,
    // Memory that the threads give back, for the first time.
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_munmap,
    libc::SYS_exit,
    libc::SYS_close,
    // Before each close, in a build with debug assertions.
    libc::SYS_fcntl,
];

/// After a stop and a continue: poll(2) goes on by it.
const CONTINUED: &[libc::c_long] = &[libc::SYS_restart_syscall];

/// How these programs themselves sleep and end.
const PROGRAM: &[libc::c_long] = &[libc::SYS_clock_nanosleep, libc::SYS_exit_group];

const WITH_SENTINEL: Birth = Birth {
    sentinel: true,
    as_pid_1: false,
};
const PIPE_ALONE: Birth = Birth {
    sentinel: false,
    as_pid_1: false,
};

/// By a call that `PROGRAM` has, whatever it answers.
fn sleep_for_ever() -> ! {
    let hour = libc::timespec {
        tv_sec: 3600,
        tv_nsec: 0,
    };
    loop {
        // SAFETY: the time is valid; what is left of it is not asked for.
        unsafe {
            libc::clock_nanosleep(
                libc::CLOCK_MONOTONIC,
                0,
                &raw const hour,
                std::ptr::null_mut(),
            );
        }
    }
}

extern "C" fn exit_42(_: libc::c_int) {
    // SAFETY: _exit(2) is async-signal-safe.
    unsafe { libc::_exit(42) };
}

fn on_sigterm(action: libc::sighandler_t) {
    // SAFETY: SIG_IGN, or a handler that is async-signal-safe.
    unsafe { libc::signal(libc::SIGTERM, action) };
}

fn handler() -> libc::sighandler_t {
    exit_42 as *const () as libc::sighandler_t
}

/// A child that says by a flag that it is protected, and sleeps.
fn protected(
    birth: Birth,
    grace: Duration,
    sigterm: libc::sighandler_t,
    between: impl Fn(),
    after: impl Fn(),
) -> Pair {
    let ready = Flag::new();
    let pair = Pair::start(birth, |watchdog| {
        on_sigterm(sigterm);
        between();
        let policy = StopPolicy::new().grace(grace);
        let _monitor = watchdog.enforce(policy).expect("enforce");
        after();
        ready.set(1);
        sleep_for_ever();
    });
    ready.wait();
    pair
}

fn ended_by_its_handler(pair: Pair) {
    let (status, _) = pair.kill_the_parent();
    assert_eq!(status.code(), Some(42), "{status}");
}

fn killed_after_the_grace(pair: Pair) {
    let (status, elapsed) = pair.kill_the_parent();
    assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
    assert!(elapsed >= GRACE, "{elapsed:?}");
}

/// In good order, and by force.
fn both_ends(birth: Birth, between: impl Fn() + Copy, after: impl Fn() + Copy) {
    ended_by_its_handler(protected(birth, ENDLESS, handler(), between, after));
    killed_after_the_grace(protected(birth, GRACE, libc::SIG_IGN, between, after));
}

#[test]
fn filter_installed_before_enforce_needs_no_more_than_the_list() {
    alone_in_pid_namespace!({
        for birth in [WITH_SENTINEL, PIPE_ALONE] {
            both_ends(birth, || trap_all_but(&[RUNNING, START, PROGRAM]), || ());
        }
    });
}

#[test]
fn filter_installed_after_enforce_needs_no_more_than_four_calls() {
    alone_in_pid_namespace!({
        for birth in [WITH_SENTINEL, PIPE_ALONE] {
            both_ends(birth, || (), || trap_all_but(&[RUNNING, PROGRAM]));
        }
    });
}

#[test]
fn child_that_is_released_under_a_filter_lives_on() {
    alone_in_pid_namespace!({
        for birth in [WITH_SENTINEL, PIPE_ALONE] {
            let ready = Flag::new();
            let mut pair = Pair::start(birth, |watchdog| {
                trap_all_but(&[RUNNING, START, END, PROGRAM, &[libc::SYS_getpid]]);
                // The threads are the last to hold what is to be closed.
                drop(watchdog.enforce(StopPolicy::immediate()).expect("enforce"));
                ready.set(std::process::id());
                sleep_for_ever();
            });
            let child = ready.wait().cast_signed();
            pair.release();
            until("the protection's threads have ended", || {
                let tasks = std::fs::read_dir(format!("/proc/{child}/task")).ok()?;
                (tasks.count() == 1).then_some(())
            });
            assert!(is_running(child));
        }
    });
}

#[test]
fn child_that_is_released_under_a_filter_of_after_its_enforce_lives_on() {
    alone_in_pid_namespace!({
        for birth in [WITH_SENTINEL, PIPE_ALONE] {
            let ready = Flag::new();
            let mut pair = Pair::start(birth, |watchdog| {
                drop(watchdog.enforce(StopPolicy::immediate()).expect("enforce"));
                trap_all_but(&[RUNNING, END, PROGRAM]);
                ready.set(1);
                sleep_for_ever();
            });
            ready.wait();
            let child = pair.child();
            pair.release();
            until("the protection's threads have ended", || {
                let tasks = std::fs::read_dir(format!("/proc/{child}/task")).ok()?;
                (tasks.count() == 1).then_some(())
            });
            assert!(is_running(child));
        }
    });
}

// restart_syscall(2): the kernel makes a process that was stopped go on in poll(2) by it.
#[test]
fn child_that_was_stopped_and_continued_is_still_protected() {
    alone_in_pid_namespace!({
        let filters: [fn(); 2] = [
            || trap_all_but(&[RUNNING, PROGRAM, CONTINUED]),
            // Refused, it is no news, and poll is not all there is.
            || seccomp::refuse(&[(libc::SYS_restart_syscall, libc::ENOSYS)]),
        ];
        for filter in filters {
            let pid = Flag::new();
            let tell = || pid.set(std::process::id());
            let pair = protected(PIPE_ALONE, ENDLESS, handler(), tell, filter);
            let child = pid.get().cast_signed();
            let state = |wanted: fn(char) -> bool| {
                until("the child stops or goes on", || {
                    stat(child).filter(|stat| wanted(stat.state)).map(drop)
                });
            };
            for (signal, wanted) in [
                (libc::SIGSTOP, (|state| state == 'T') as fn(char) -> bool),
                (libc::SIGCONT, |state| state == 'S'),
            ] {
                // SAFETY: kill(2) has no memory effect; the number is a process's of this
                // namespace, which is not reaped.
                unsafe { libc::kill(child, signal) };
                state(wanted);
            }
            ended_by_its_handler(pair);
        }
    });
}

/// A process that only a signal to everybody could hit, and its group.
fn bystander() -> Fork {
    Fork::run(|| sleep_for_ever())
}

fn is_unharmed(bystander: &Fork) {
    assert!(is_running(bystander.pid()));
}

// A filter's errno of 0 makes the call answer 0, which is a process number as little as -1.
#[test]
fn number_that_cannot_be_had_is_an_error_of_enforce_and_signals_nobody() {
    alone_in_pid_namespace!({
        let bystander = bystander();
        for errno in [libc::EPERM, libc::ENOSYS, 0] {
            // Known from adoption on: a copy made by fork has to ask again.
            let told = Flag::new();
            let pair = Pair::start(WITH_SENTINEL, |watchdog| {
                let mut watchdog = Some(watchdog);
                let copy = Fork::run(|| {
                    seccomp::refuse(&[(libc::SYS_getpid, errno)]);
                    let watchdog = watchdog.take().expect("the copy");
                    let error = watchdog
                        .enforce(StopPolicy::immediate())
                        .expect_err("no number");
                    assert!(errno == 0 || error.raw_os_error() == Some(errno), "{error}");
                });
                copy.succeeds();
                told.set(1);
                sleep_for_ever();
            });
            told.wait();
            let (ours, theirs) = (pair, &bystander);
            is_unharmed(theirs);
            drop(ours);
        }
    });
}

#[test]
fn number_that_is_refused_after_adoption_is_not_missed() {
    alone_in_pid_namespace!({
        let bystander = bystander();
        for errno in [libc::EPERM, 0] {
            let filter = || seccomp::refuse(&[(libc::SYS_getpid, errno)]);
            both_ends(WITH_SENTINEL, filter, || ());
            is_unharmed(&bystander);
        }
    });
}

#[test]
fn kill_that_is_refused_ends_the_process_by_exit_after_the_grace() {
    alone_in_pid_namespace!({
        let filter = || seccomp::refuse(&[(libc::SYS_kill, libc::EPERM)]);
        let pair = protected(PIPE_ALONE, GRACE, libc::SIG_DFL, filter, || ());
        let (status, elapsed) = pair.kill_the_parent();
        assert_eq!(status.code(), Some(128 + libc::SIGKILL), "{status}");
        assert!(elapsed >= GRACE, "{elapsed:?}");
    });
}

/// These are refused in turn, before and after the protection begins.
fn refused(birth: Birth, calls: &[(libc::c_long, i32)]) {
    both_ends(birth, || seccomp::refuse(calls), || ());
    both_ends(birth, || (), || seccomp::refuse(calls));
}

#[test]
fn poll_that_is_refused_shortens_no_grace_and_hides_no_death() {
    alone_in_pid_namespace!({
        for errno in [libc::ENOSYS, libc::EPERM, libc::EINVAL] {
            let calls = [
                #[cfg(target_arch = "x86_64")]
                (libc::SYS_poll, errno),
                (libc::SYS_ppoll, errno),
            ];
            for birth in [WITH_SENTINEL, PIPE_ALONE] {
                refused(birth, &calls);
            }
        }
    });
}

#[test]
fn futex_that_is_refused_shortens_no_grace_and_hides_no_death() {
    alone_in_pid_namespace!({
        let filter = || seccomp::refuse(&[(libc::SYS_futex, libc::EPERM)]);
        for birth in [WITH_SENTINEL, PIPE_ALONE] {
            both_ends(birth, || (), filter);
        }
    });
}

// poll(2): EINVAL where there are more entries than RLIMIT_NOFILE.
#[test]
fn child_that_may_open_no_descriptor_any_more_is_told() {
    alone_in_pid_namespace!({
        let limit = || {
            let none = libc::rlimit {
                rlim_cur: 0,
                rlim_max: 0,
            };
            // SAFETY: the structure is valid for the call.
            let failed = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const none) };
            assert_eq!(failed, 0);
        };
        for birth in [WITH_SENTINEL, PIPE_ALONE] {
            both_ends(birth, limit, || ());
            both_ends(birth, || (), limit);
        }
    });
}

#[test]
fn stop_signal_is_the_policys_under_a_filter_too() {
    alone_in_pid_namespace!({
        let ready = Flag::new();
        let pair = Pair::start(WITH_SENTINEL, |watchdog| {
            trap_all_but(&[RUNNING, START, PROGRAM]);
            let policy = StopPolicy::new().signal(Signal::INT).grace(ENDLESS);
            let _monitor = watchdog.enforce(policy).expect("enforce");
            ready.set(1);
            sleep_for_ever();
        });
        ready.wait();
        let (status, _): (ExitStatus, _) = pair.kill_the_parent();
        assert_eq!(status.signal(), Some(libc::SIGINT), "{status}");
    });
}
