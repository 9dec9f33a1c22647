//! `Process` where the process around it is unusual. Each case runs in a fixture process of its
//! own.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use pidfd_watcher::{Error, Pid, Process, Signal};
use shim_spawner::ShimIdentity;
use workspace_tests::namespace::{kernel, looked_at};
use workspace_tests::orders::Order;
use workspace_tests::target::{grandchild, sleeper, target};
use workspace_tests::{alone, fd_limit, proc_fs, seccomp, time_limit, until};

/// Cases find the fixture that they watch where Cargo put it.
#[test]
fn fixture_is_found_where_cargo_put_it() {
    let found = workspace_tests::fd_table::fixture("proc_target");
    assert_eq!(found.as_os_str(), env!("CARGO_BIN_EXE_proc_target"));
}

fn ended(process: &Process) -> Option<ExitStatus> {
    process
        .wait_timeout(time_limit())
        .expect("poll")
        .expect("ends before the deadline")
        .status
}

/// One descriptor a process, whatever is done with it, and none when it is over.
#[test]
fn handle_costs_one_descriptor_and_leaves_none() {
    alone!({
        let before = proc_fs::own_fds();
        let (mut first, mut second) = (sleeper(), sleeper());
        let held = proc_fs::own_fds().len();
        let one = Process::from_child(&mut first).expect("own child");
        let two = Process::open(Pid::from_child(&second)).expect("own child");
        let clones: Vec<Process> = (0..10).map(|_| one.clone()).collect();
        assert_eq!(
            proc_fs::own_fds().len(),
            held + 2,
            "one descriptor each, clones share it"
        );

        for _ in 0..10 {
            assert!(one.try_wait().expect("poll").is_none());
            assert!(
                two.wait_timeout(Duration::from_millis(1))
                    .expect("poll")
                    .is_none()
            );
            ShimIdentity::of(&one)
                .expect("identity")
                .open()
                .expect("the same");
        }
        let (parent, stranger) = grandchild(3);
        drop(Process::open(Pid::from_raw(1 << 23).expect("a number")).expect_err("nobody"));
        drop(Process::from_pidfd(
            std::fs::File::open("/dev/null").expect("file").into(),
        ));
        one.send_signal(Signal::KILL).expect("own child");
        two.send_signal(Signal::KILL).expect("own child");
        ended(&one);
        let two = {
            ended(&two);
            two.reap().expect("own child").pid
        };
        assert_eq!(two, Pid::from_child(&second));
        drop((one, clones, stranger, parent));
        first.stdin = None;
        second.stdin = None;
        assert_eq!(proc_fs::own_fds(), before);
    });
}

#[test]
fn without_a_free_descriptor_opening_fails_and_waiting_works() {
    alone!({
        let mut child = sleeper();
        let process = Process::from_child(&mut child).expect("own child");
        let pid = process.pid();
        // Every number below is taken already.
        let limit = proc_fs::own_fds().into_keys().max().expect("0 to 2") + 1;
        fd_limit::set(u64::try_from(limit).expect("positive"));
        let _taken = fd_limit::fill();
        for error in [
            Process::open(pid).expect_err("no number left"),
            Process::from_child(&mut child).expect_err("no number left"),
        ] {
            assert!(matches!(error, Error::TooManyOpenFiles(_)), "{error}");
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        }
        // What is open goes on working, status of an own child included.
        process.send_signal(Signal::KILL).expect("own child");
        assert_eq!(
            ended(&process).and_then(|status| status.signal()),
            Some(libc::SIGKILL)
        );
        process.reap().expect("own child");
    });
}

#[test]
fn refused_system_call_is_a_typed_error() {
    alone!({
        let mut child = sleeper();
        let process = Process::from_child(&mut child).expect("own child");
        seccomp::refuse(&[(libc::SYS_pidfd_open, libc::EPERM)]);
        let error = Process::from_child(&mut child).expect_err("refused");
        assert!(matches!(error, Error::PermissionDenied(_)), "{error}");
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));
        seccomp::refuse(&[(libc::SYS_pidfd_open, libc::ENOSYS)]);
        let error = Process::open(process.pid()).expect_err("refused");
        assert!(matches!(error, Error::Unsupported(_)), "{error}");

        seccomp::refuse(&[(libc::SYS_pidfd_send_signal, libc::EPERM)]);
        let error = process.send_signal(Signal::KILL).expect_err("refused");
        assert!(matches!(error, Error::PermissionDenied(_)), "{error}");
        assert!(process.try_wait().expect("poll").is_none());
    });
}

/// Whoever may know the status is refused, one after the other.
#[test]
fn status_is_unknown_when_nobody_may_tell_it() {
    alone!({
        let wait = (libc::SYS_waitid, libc::EPERM);
        let info = (libc::SYS_ioctl, libc::EPERM);
        let mut child = sleeper();
        let process = Process::from_child(&mut child).expect("own child");
        let unseen = Process::open(process.pid()).expect("own child");
        let last = Process::open(process.pid()).expect("own child");
        seccomp::refuse(&[wait]);
        child.stdin = None;
        // waitid is gone, the zombie is there: /proc.
        assert_eq!(
            ended(&process).and_then(|status| status.code()),
            looked_at(7)
        );
        let failed = process.reap().expect_err("refused");
        assert!(
            matches!(failed.error, Error::PermissionDenied(_)),
            "{failed}"
        );

        // wait4 still works, and std's Child uses it.
        child.wait_deadline();
        if kernel() >= (6, 15) {
            assert_eq!(ended(&unseen).and_then(|status| status.code()), Some(7));
        }
        seccomp::refuse(&[info]);
        // Nobody is left to tell: unknown, and no exit with 0.
        assert_eq!(ended(&last), None);
    });
}

/// The kernel reaps by itself: the exit is told, and its status is right or unknown.
#[test]
fn child_that_the_kernel_reaps_is_told_with_the_right_status_or_none() {
    alone!({
        // SAFETY: sets a disposition, installs no handler.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        for (order, raw) in [
            (Order::Exit { code: 5 }, 5 << 8),
            (Order::Exit { code: 0 }, 0),
            (Order::Raise { signal: 15 }, 15),
        ] {
            for first_dead in [false, true] {
                // Held up until we have opened it, or opened when it may be dead.
                let at_once = target(&order);
                let code = raw >> 8;
                let held = target(&Order::ExitAtEof { code });
                let mut command = if first_dead { at_once } else { held };
                let mut child = command.spawn().expect("spawn");
                let opened = if first_dead {
                    let pid = child.id().cast_signed();
                    until("reaped by the kernel", || {
                        proc_fs::stat(pid).is_none().then_some(())
                    });
                    let error = Process::from_child(&mut child).expect_err("reaped by the kernel");
                    assert!(matches!(error, Error::NotChild(_)), "{error}");
                    continue;
                } else {
                    Process::from_child(&mut child).expect("a child, while it lives")
                };
                let raw = if matches!(order, Order::Raise { .. }) {
                    opened.send_signal(Signal::TERM).expect("own child");
                    raw
                } else {
                    end(&mut child);
                    raw
                };
                let status = ended(&opened);
                assert!(
                    status.is_none() || status == Some(ExitStatus::from_raw(raw)),
                    "{status:?}"
                );
                assert!(status.is_some() || kernel() < (6, 15), "known since 6.15");
                let failed = opened.reap().expect_err("nothing to reap");
                assert!(matches!(failed.error, Error::NotChild(_)), "{failed}");
            }
        }
    });
}

fn end(child: &mut Child) {
    child.stdin = None;
}

/// Ids that own nothing here.
fn become_nobody() {
    let nobody: libc::c_long = 65534;
    // SAFETY: plain numbers; raw calls, and this process has one thread.
    let done = unsafe {
        libc::syscall(libc::SYS_setgroups, 0, 0) == 0
            && libc::syscall(libc::SYS_setresgid, nobody, nobody, nobody) == 0
            && libc::syscall(libc::SYS_setresuid, nobody, nobody, nobody) == 0
    };
    assert!(done, "{}", std::io::Error::last_os_error());
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root to become somebody else");
    }
    root
}

/// Field 52 reads 0 to one who may not trace the process: that is no exit with 0.
#[test]
fn status_hidden_from_an_unprivileged_observer_is_not_taken_for_success() {
    alone!({
        if !is_root() {
            return;
        }
        let (mut sees, before) = grandchild(9);
        let (mut zero, exit_0) = grandchild(0);
        let (mut reaped, after) = grandchild(9);
        become_nobody();
        for (parent, process) in [(&mut sees, &before), (&mut zero, &exit_0)] {
            assert!(matches!(
                process.send_signal(Signal::KILL),
                Err(Error::PermissionDenied(_))
            ));
            parent.order(&Order::EndChild);
            assert_eq!(ended(process), None, "a zombie of somebody else");
        }
        sees.order(&Order::ReapChild);
        assert_eq!(sees.hear(), "reaped");
        // What was unknown is asked again, and known now.
        let known = kernel() >= (6, 15);
        assert_eq!(
            ended(&before).and_then(|status| status.code()),
            known.then_some(9)
        );
        reaped.order(&Order::EndChild);
        reaped.order(&Order::ReapChild);
        assert_eq!(reaped.hear(), "reaped");
        assert_eq!(
            ended(&after).and_then(|status| status.code()),
            known.then_some(9)
        );
    });
}

/// A child whose exit is announced by no signal: waitid passes over it unless asked for all.
#[test]
fn child_whose_exit_is_announced_by_no_signal_is_ours_to_wait_for() {
    alone!({
        // SAFETY: no flag, no stack, no pointer: a fork that announces nothing. The child calls
        // nothing but _exit.
        let pid = unsafe { libc::syscall(libc::SYS_clone, 0, 0, 0, 0, 0) };
        if pid == 0 {
            // SAFETY: ends the process, without handlers that the copy has no right to run.
            unsafe { libc::_exit(23) };
        }
        let pid = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .expect("clone");
        let process = Process::open(pid).expect("own child");
        assert_eq!(
            ended(&process).and_then(|status| status.code()),
            looked_at(23)
        );
        let exit = process.reap().expect("own child");
        assert_eq!(exit.status.and_then(|status| status.code()), Some(23));
    });
}

/// A handled signal every millisecond, without SA_RESTART: waits go on to their end.
#[test]
fn storm_of_handled_signals_does_not_end_a_wait() {
    alone!({
        extern "C" fn nothing(_: libc::c_int) {}
        let mut child = sleeper();
        let process = Process::from_child(&mut child).expect("own child");
        // SAFETY: the handler does nothing, so it may run anywhere; both structures are plain data
        // that lives until the calls return.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
            assert_eq!(
                libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()),
                0
            );
            let every = libc::timeval {
                tv_sec: 0,
                tv_usec: 1000,
            };
            let timer = libc::itimerval {
                it_interval: every,
                it_value: every,
            };
            let set = libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut());
            assert_eq!(set, 0);
        }
        let timeout = Duration::from_millis(50);
        let start = Instant::now();
        assert_eq!(process.wait_timeout(timeout).expect("not EINTR"), None);
        assert!(start.elapsed() >= timeout);
        let killer = process.clone();
        let kill = std::thread::spawn(move || {
            assert_eq!(killer.wait_timeout(timeout).expect("not EINTR"), None);
            killer.send_signal(Signal::KILL).expect("own child");
        });
        let exit = process.wait().expect("not EINTR");
        assert_eq!(
            exit.status.and_then(|status| status.signal()),
            Some(libc::SIGKILL)
        );
        kill.join().expect("thread");
    });
}

/// `/proc/self/fd` is empty once the main thread ended; we read our own descriptors all the same.
#[test]
fn status_of_a_stranger_is_known_after_our_main_thread_ended() {
    alone!({
        // Before that, since /proc/self/exe goes with the main thread as well.
        let (mut parent, process) = grandchild(6);
        std::thread::spawn(move || {
            let leader = std::process::id();
            until("leader is gone", || {
                let stat =
                    std::fs::read_to_string(format!("/proc/self/task/{leader}/stat")).ok()?;
                stat.rsplit(')')
                    .next()?
                    .trim_start()
                    .starts_with('Z')
                    .then_some(())
            });
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
                let identity = ShimIdentity::of(&process).expect("identity");
                identity.open().expect("the same process");
                let again = process.as_fd().try_clone_to_owned().expect("dup");
                assert_eq!(
                    Process::from_pidfd(again).expect("a pidfd").pid(),
                    process.pid()
                );
                parent.order(&Order::EndChild);
                assert_eq!(
                    ended(&process).and_then(|status| status.code()),
                    looked_at(6)
                );
            }));
            std::process::exit(i32::from(outcome.is_err()));
        });
        // SAFETY: ends this thread alone, which lends nothing to the other.
        unsafe { libc::syscall(libc::SYS_exit, 99) };
    });
}

/// A process that is not ours to signal is there all the same.
#[test]
fn shim_that_is_not_ours_to_signal_is_found_all_the_same() {
    alone!({
        if !is_root() {
            return;
        }
        let mut child = sleeper();
        let process = Process::from_child(&mut child).expect("own child");
        let saved = ShimIdentity::of(&process).expect("identity");
        become_nobody();
        let found = saved.open().expect("alive, and somebody else's");
        assert_eq!(found.pid(), process.pid());
        assert!(matches!(
            found.send_signal(Signal::KILL),
            Err(Error::PermissionDenied(_))
        ));
        child.stdin = None;
        ended(&found);
    });
}

/// Somebody closes the number under a handle: an error, and nobody's exit.
#[test]
fn descriptor_that_somebody_closed_is_an_error_and_no_exit() {
    alone!({
        let mut child = sleeper();
        let process = Process::from_child(&mut child).expect("own child");
        // SAFETY: wrong, on purpose: nothing else is opened in this process until the handle is
        // forgotten below.
        unsafe { libc::close(process.as_fd().as_raw_fd()) };
        for result in [
            process.try_wait(),
            process.wait_timeout(Duration::from_millis(1)),
            process.wait().map(Some),
        ] {
            let error = result.expect_err("no such descriptor");
            assert_eq!(error.raw_os_error(), Some(libc::EBADF), "{error}");
        }
        std::mem::forget(process);
    });
}
