//! The table in the documentation of [`pidfd_watcher::Error`]: one test a row. The cause is a real
//! one where it can be made here; a filter stands in for what other kernels answer, and for what
//! nothing here can bring about.

use std::process::{Child, Command, Stdio};

use pidfd_watcher::{Error, Pid, Process, ReapError, Signal, Watcher};
use rustix::process::{PidfdFlags, pidfd_open};
use workspace_tests::fork::Fork;
use workspace_tests::orders::Order;
use workspace_tests::{Dialogue, Held, alone, alone_in_pid_namespace, namespace, seccomp};

/// The variant, for a comparison that prints what it saw.
fn variant(error: &Error) -> &'static str {
    match error {
        Error::NotFound(_) => "NotFound",
        Error::NotChild(_) => "NotChild",
        Error::NotReady(_) => "NotReady",
        Error::NotPidfd(_) => "NotPidfd",
        Error::TooManyOpenFiles(_) => "TooManyOpenFiles",
        Error::TooManyProcesses(_) => "TooManyProcesses",
        Error::WatchLimit(_) => "WatchLimit",
        Error::PermissionDenied(_) => "PermissionDenied",
        Error::Unsupported(_) => "Unsupported",
        Error::Io(_) => "Io",
        _ => "another",
    }
}

#[track_caller]
fn assert_is<T>(result: Result<T, Error>, wanted: &str, errno: i32) {
    let error = result.err().expect("refused");
    assert_eq!(
        (variant(&error), error.raw_os_error()),
        (wanted, Some(errno)),
        "{error}"
    );
}

fn reaped(held: &Held) -> Result<pidfd_watcher::Exit, Error> {
    let refused = held.process().clone().reap();
    refused.map_err(|ReapError { error, .. }| error)
}

/// Each of these numbers from that call, by a filter, is that variant. Filters add up, and the
/// latest one wins.
#[track_caller]
fn each_is(call: libc::c_long, wanted: &[(i32, &str)], run: impl Fn() -> Result<(), Error>) {
    for &(errno, variant) in wanted {
        seccomp::refuse(&[(call, errno)]);
        assert_is(run(), variant, errno);
    }
}

fn child(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).spawn().expect("spawn")
}

fn sleeper() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proc_target"));
    command.arg(Order::ExitAtEof { code: 7 }.argument());
    command
}

fn become_nobody() -> bool {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root to become somebody else");
        return false;
    }
    let nobody: libc::c_long = 65534;
    // SAFETY: plain numbers; raw calls, and this process has one thread.
    let done = unsafe {
        libc::syscall(libc::SYS_setgroups, 0, 0) == 0
            && libc::syscall(libc::SYS_setresgid, nobody, nobody, nobody) == 0
            && libc::syscall(libc::SYS_setresuid, nobody, nobody, nobody) == 0
    };
    assert!(done, "{}", std::io::Error::last_os_error());
    true
}

#[test]
fn number_that_nobody_has_is_not_found() {
    alone!({
        let held = Held::new();
        held.kill();
        held.process().wait().expect("poll");
        reaped(&held).expect("own child");
        assert_is(Process::open(held.process().pid()), "NotFound", libc::ESRCH);
    });
}

#[test]
fn number_of_a_thread_is_not_found_whatever_the_kernel_calls_it() {
    let own = std::thread::spawn(|| Process::open(rustix::thread::gettid()).map(drop));
    let error = own.join().expect("thread").expect_err("a thread");
    assert_eq!(variant(&error), "NotFound", "{error}");
    alone!({
        let pid = rustix::process::getpid();
        let wanted = [(libc::ENOENT, "NotFound"), (libc::EINVAL, "NotFound")];
        each_is(libc::SYS_pidfd_open, &wanted, || {
            Process::open(pid).map(drop)
        });
    });
}

#[test]
fn other_numbers_of_pidfd_open_say_nothing_about_the_process() {
    alone!({
        let pid = rustix::process::getpid();
        let wanted = [
            (libc::EMFILE, "TooManyOpenFiles"),
            (libc::ENFILE, "TooManyOpenFiles"),
            (libc::EPERM, "PermissionDenied"),
            (libc::EACCES, "PermissionDenied"),
            (libc::ENOSYS, "Unsupported"),
            (libc::ENOMEM, "Io"),
            (libc::ENODEV, "Io"),
            (libc::ECHILD, "Io"),
            (libc::EAGAIN, "Io"),
            (libc::ENOSPC, "Io"),
        ];
        each_is(libc::SYS_pidfd_open, &wanted, || {
            Process::open(pid).map(drop)
        });
    });
}

#[test]
fn signal_to_a_reaped_process_is_not_found() {
    alone!({
        let held = Held::new();
        held.kill();
        held.process().wait().expect("poll");
        reaped(&held).expect("own child");
        let sent = held.process().send_signal(Signal::TERM);
        assert_is(sent, "NotFound", libc::ESRCH);
    });
}

#[test]
fn signal_to_somebody_elses_process_is_permission_denied() {
    alone!({
        let held = Held::new();
        if !become_nobody() {
            return;
        }
        // Not SIGCONT, which everybody of the same session may send: kill(2).
        let sent = held.process().send_signal(Signal::TERM);
        // What drops it may not kill it either.
        held.exit(0);
        assert_is(sent, "PermissionDenied", libc::EPERM);
    });
}

#[test]
fn signal_out_of_the_own_pid_namespace_is_an_invalid_argument() {
    alone!({
        let held = Held::new();
        // SAFETY: a plain number; the next child of this process is pid 1 of the new namespace.
        if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
            let error = std::io::Error::last_os_error();
            eprintln!("skipped: no PID namespace to be had here ({error})");
            return;
        }
        let inside = Fork::run(|| {
            let sent = held.process().send_signal(Signal::CONT);
            assert_is(sent, "Io", libc::EINVAL);
            assert_eq!(held.process().try_wait().expect("poll"), None);
        });
        inside.succeeds();
    });
}

#[test]
fn other_numbers_of_pidfd_send_signal_say_nothing_about_the_process() {
    alone_in_pid_namespace!({
        let held = Held::new();
        // A zombie takes any signal, and what drops this one could not kill it any more.
        held.exit(0);
        let wanted = [
            (libc::EACCES, "PermissionDenied"),
            (libc::ENOSYS, "Unsupported"),
            (libc::EAGAIN, "Io"),
            (libc::EBADF, "Io"),
            (libc::ENOMEM, "Io"),
            (libc::ECHILD, "Io"),
        ];
        each_is(libc::SYS_pidfd_send_signal, &wanted, || {
            held.process().send_signal(Signal::CONT)
        });
    });
}

#[test]
fn reaping_what_is_no_child_or_was_reaped_is_not_child() {
    alone!({
        let own = Process::open(rustix::process::getpid()).expect("own process");
        let refused = own.reap().map_err(Error::from);
        assert_is(refused, "NotChild", libc::ECHILD);

        let mut gone = child(&mut sleeper());
        let process = Process::from_child(&mut gone).expect("own child");
        gone.kill().expect("kill");
        gone.wait().expect("wait");
        let refused = process.reap().map_err(Error::from);
        assert_is(refused, "NotChild", libc::ECHILD);
    });
}

#[test]
fn numbers_of_waitid_are_never_taken_for_not_yet() {
    alone!({
        let mut living = child(&mut sleeper());
        let held = Held::new();
        held.exit(3);
        held.process().wait().expect("poll");
        let wanted = [
            (libc::ECHILD, "NotChild"),
            (libc::EINVAL, "Unsupported"),
            (libc::ENOSYS, "Unsupported"),
            (libc::EPERM, "PermissionDenied"),
            (libc::EAGAIN, "Io"),
            (libc::EBADF, "Io"),
            (libc::ESRCH, "Io"),
        ];
        for (errno, variant) in wanted {
            seccomp::refuse(&[(libc::SYS_waitid, errno)]);
            let opened = Process::from_child(&mut living);
            assert_is(opened, variant, errno);
            // The status was learned above; a refusal is no reason to forget that the child is
            // there.
            if errno != libc::ECHILD {
                assert_is(reaped(&held), variant, errno);
            }
        }
        living.kill().expect("kill");
        living.wait().expect("wait");
    });
}

#[test]
fn child_that_lives_or_whose_pidfd_does_not_block_is_not_ready() {
    alone!({
        let held = Held::new();
        assert_is(reaped(&held), "NotReady", libc::EAGAIN);
        let Ok(pidfd) = pidfd_open(held.process().pid(), PidfdFlags::NONBLOCK) else {
            eprintln!("skipped: PIDFD_NONBLOCK came with Linux 5.10");
            return;
        };
        let process = Process::from_pidfd(pidfd).expect("a pidfd");
        let refused = process.reap().map_err(Error::from);
        assert_is(refused, "NotReady", libc::EAGAIN);
    });
}

#[test]
fn pidfd_of_a_reaped_process_is_not_found() {
    alone!({
        let held = Held::new();
        let pidfd = pidfd_open(held.process().pid(), PidfdFlags::empty()).expect("own child");
        held.kill();
        held.process().wait().expect("poll");
        reaped(&held).expect("own child");
        assert_is(Process::from_pidfd(pidfd), "NotFound", libc::ESRCH);
    });
}

/// Nobody but the kernel can tell here: /proc is an empty folder.
#[test]
fn pidfd_of_a_process_outside_the_own_pid_namespace_is_not_found() {
    alone!({
        if namespace::kernel() < (6, 13) {
            eprintln!("skipped: PIDFD_GET_INFO came with Linux 6.13");
            return;
        }
        let held = Held::new();
        let pidfd = pidfd_open(held.process().pid(), PidfdFlags::empty()).expect("own child");
        // SAFETY: plain numbers; this process has one thread.
        if unsafe { libc::unshare(libc::CLONE_NEWPID | libc::CLONE_NEWNS) } != 0 {
            let error = std::io::Error::last_os_error();
            eprintln!("skipped: no new PID namespace to be had here ({error})");
            return;
        }
        let inside = Fork::run(|| {
            namespace::mount_empty_proc();
            let error = Process::from_pidfd(pidfd).expect_err("outside");
            assert_eq!(variant(&error), "NotFound", "{error:?}");
            let errno = error.raw_os_error();
            assert!(
                matches!(errno, Some(libc::EREMOTE | libc::ESRCH)),
                "{error}"
            );
        });
        inside.succeeds();
    });
}

#[test]
fn number_that_neither_the_kernel_nor_proc_tells_is_unsupported() {
    alone!({
        let held = Held::new();
        let pidfd = || pidfd_open(held.process().pid(), PidfdFlags::empty()).expect("own child");
        seccomp::refuse(&[(libc::SYS_ioctl, libc::ENOTTY)]);
        let by_proc = Process::from_pidfd(pidfd()).expect("by /proc");
        assert_eq!(by_proc.pid(), held.process().pid());
        if !namespace::unshare_mounts() {
            return;
        }
        namespace::mount_empty_proc();
        // Before Linux 6.9 a pidfd looks like any anonymous file, and there is no number of the
        // kernel's to give.
        let error = Process::from_pidfd(pidfd()).expect_err("nobody tells");
        assert_eq!(variant(&error), "Unsupported", "{error:?}");
        let errno = error.raw_os_error();
        assert!(
            matches!(errno, Some(libc::ENOTTY | libc::ENOSYS)),
            "{error}"
        );
    });
}

#[test]
fn numbers_of_epoll_are_a_limit_on_watches_and_nothing_else() {
    alone!({
        let held = Held::new();
        let watcher = Watcher::new().expect("watcher");
        let wanted = [
            (libc::ENOSPC, "WatchLimit"),
            (libc::EPERM, "PermissionDenied"),
            (libc::ENOMEM, "Io"),
            (libc::EAGAIN, "Io"),
        ];
        each_is(libc::SYS_epoll_ctl, &wanted, || {
            watcher.watch(held.process(), |_| {}).map(drop)
        });
    });
}

/// A future is asked more than once, and its answer stays the same.
#[test]
fn error_of_a_future_is_given_again_as_it_was() {
    alone!({
        let held = Held::new();
        let watcher = Watcher::new().expect("watcher");
        seccomp::refuse(&[(libc::SYS_epoll_ctl, libc::ENOSPC)]);
        let mut future = std::pin::pin!(watcher.exited(held.process()));
        for _ in 0..2 {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            let std::task::Poll::Ready(result) = future.as_mut().poll(&mut context) else {
                panic!("it failed at once");
            };
            assert_is(result, "WatchLimit", libc::ENOSPC);
        }
    });
}

#[test]
fn limit_on_processes_is_told_as_such_and_leaves_nothing() {
    alone!({
        if !become_nobody() {
            return;
        }
        let none = rustix::process::Rlimit {
            current: Some(0),
            maximum: Some(0),
        };
        rustix::process::setrlimit(rustix::process::Resource::Nproc, none).expect("setrlimit");
        // SAFETY: this process has one thread, and the child does nothing.
        let forked = unsafe { Process::fork(|| 0) };
        assert_is(forked, "TooManyProcesses", libc::EAGAIN);
        assert_is(Watcher::new(), "TooManyProcesses", libc::EAGAIN);
    });
}

#[test]
fn poll_that_a_filter_refuses_is_no_exit() {
    alone!({
        let held = Held::new();
        let wanted = [
            (libc::EPERM, "PermissionDenied"),
            (libc::ENOSYS, "Unsupported"),
            (libc::ENOMEM, "Io"),
            (libc::ECHILD, "Io"),
            (libc::EAGAIN, "Io"),
        ];
        each_is(libc::SYS_ppoll, &wanted, || {
            held.process().try_wait().map(drop)
        });
        each_is(libc::SYS_ppoll, &wanted[..2], || reaped(&held).map(drop));
    });
}

#[test]
fn stranger_whose_zombie_we_may_not_wait_for_is_not_child() {
    let mut parent = Dialogue::spawn(
        Command::new(env!("CARGO_BIN_EXE_proc_target")).arg(Order::ParentOf { code: 5 }.argument()),
    );
    let pid = Pid::from_raw(parent.hear().parse().expect("a pid")).expect("a pid");
    let process = Process::open(pid).expect("open by pid");
    parent.order(&Order::EndChild);
    process.wait().expect("poll");
    let refused = process.reap().map_err(Error::from);
    assert_is(refused, "NotChild", libc::ECHILD);
}
