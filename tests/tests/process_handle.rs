//! `Process` as a handle: whom it opens, whom it signals, who may hold it.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pidfd_watcher::{Error, Pid, Process, Signal};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use workspace_tests::namespace::looked_at;
use workspace_tests::orders::Order;
use workspace_tests::{Guard, time_limit};

/// `PIDFD_THREAD`, Linux 6.9.
const PIDFD_THREAD: PidfdFlags = PidfdFlags::from_bits_retain(libc::O_EXCL.cast_unsigned());

/// A child that lives until it is killed.
fn sleeper() -> Guard {
    Guard::spawn(
        Command::new(env!("CARGO_BIN_EXE_proc_target"))
            .arg(Order::ExitAtEof { code: 0 }.argument())
            .stdin(Stdio::piped()),
    )
}

fn pidfd_of(child: &Guard, flags: PidfdFlags) -> OwnedFd {
    pidfd_open(Pid::from_child(child), flags).expect("pidfd_open of own child")
}

fn killed(process: &Process) -> bool {
    let exit = process
        .wait_timeout(time_limit())
        .expect("poll")
        .expect("ends before the deadline");
    exit.status.and_then(|status| status.signal()) == Some(libc::SIGKILL)
}

#[test]
fn handle_is_shared_between_threads() {
    fn promise<T: Clone + Send + Sync + Unpin + 'static>() {}
    promise::<Process>();

    let mut child = sleeper();
    let process = Process::from_child(&mut child).expect("own child");
    std::thread::scope(|scope| {
        let waits: Vec<_> = (0..4)
            .map(|_| {
                let process = process.clone();
                scope.spawn(move || killed(&process))
            })
            .collect();
        process.send_signal(Signal::KILL).expect("own child");
        assert!(waits.into_iter().all(|wait| wait.join().expect("thread")));
    });
}

#[test]
fn two_handles_on_one_pid_both_work() {
    let mut child = sleeper();
    let first = Process::from_child(&mut child).expect("own child");
    let second = Process::open(first.pid()).expect("same child");
    drop(first.clone());
    first.send_signal(Signal::KILL).expect("own child");
    assert!(killed(&first) && killed(&second));
    first.reap().expect("own child");
    assert!(
        killed(&second),
        "still known after the other handle reaped it"
    );
}

#[test]
fn dropping_the_handle_leaves_the_process_alone() {
    let mut child = sleeper();
    drop(Process::from_child(&mut child).expect("own child"));
    assert!(workspace_tests::proc_fs::is_running(
        child.id().cast_signed()
    ));
}

#[test]
fn wait_timeout_gives_up_in_time_and_not_before() {
    let mut child = sleeper();
    let process = Process::from_child(&mut child).expect("own child");
    let timeout = Duration::from_millis(30);
    let start = Instant::now();
    assert_eq!(process.wait_timeout(timeout).expect("poll"), None);
    assert!(start.elapsed() >= timeout);
    assert_eq!(process.wait_timeout(Duration::ZERO).expect("poll"), None);
    process.send_signal(Signal::KILL).expect("own child");
    let exit = process.wait_timeout(Duration::MAX).expect("poll");
    assert!(exit.is_some());
}

#[test]
fn child_that_was_waited_for_is_not_ours_any_more() {
    let mut child = sleeper();
    child.kill().expect("kill");
    child.wait_deadline();
    let refused = Process::from_child(&mut child);
    // Another test's child may have taken the number: then it is no child of ours to be wrong
    // about.
    match refused {
        Err(Error::NotChild(_)) => {}
        Ok(other) => assert_eq!(other.pid(), Pid::from_child(&child)),
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn number_of_nobody_is_not_found() {
    // Above the highest number there can be: PID_MAX_LIMIT is 2^22.
    let nobody = Pid::from_raw((1 << 22) + 1).expect("a number");
    let error = Process::open(nobody).expect_err("nobody");
    assert!(matches!(error, Error::NotFound(_)), "{error}");
    assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
}

#[test]
fn number_of_a_thread_is_not_found() {
    std::thread::spawn(|| {
        let tid = rustix::thread::gettid();
        let error = Process::open(tid).expect_err("no process has the number of a thread");
        assert!(matches!(error, Error::NotFound(_)), "{error}");
    })
    .join()
    .expect("thread");
}

#[test]
fn own_process_can_be_opened_and_lives() {
    let own = Process::open(getpid()).expect("own process");
    assert_eq!(own.try_wait().expect("poll"), None);
    let failed = own.reap().expect_err("nobody reaps himself");
    assert!(matches!(failed.error, Error::NotChild(_)), "{failed}");
}

#[test]
fn reaping_twice_through_clones_gives_the_status_twice() {
    let mut child = sleeper();
    let process = Process::from_child(&mut child).expect("own child");
    let failed = process.reap().expect_err("it lives");
    assert!(matches!(failed.error, Error::NotReady(_)), "{failed}");
    let process = failed.process;
    process.send_signal(Signal::KILL).expect("own child");
    assert!(killed(&process));

    let clone = process.clone();
    let first = process.reap().expect("own child");
    assert_eq!(clone.clone().reap().expect("the same child"), first);
    assert_eq!(clone.try_wait().expect("poll"), Some(first));
    let error = clone.send_signal(Signal::KILL).expect_err("reaped");
    assert!(matches!(error, Error::NotFound(_)), "{error}");
}

#[test]
fn clones_that_reap_at_once_all_succeed() {
    for _ in 0..50 {
        let mut child = sleeper();
        child.kill().expect("kill");
        let process = Process::from_child(&mut child).expect("own child");
        assert!(killed(&process));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let process = process.clone();
                scope.spawn(move || process.reap().expect("own child"));
            }
        });
    }
}

/// Each of them may find the child reaped by another between any two of its own looks.
#[test]
fn clones_that_reap_at_once_what_nobody_has_looked_at_all_have_its_status() {
    for round in 0..500 {
        let child = workspace_tests::Held::new();
        child.exit(6);
        // Another handle waits, so that these know nothing yet.
        let other = Process::open(child.process().pid()).expect("own child");
        other.wait().expect("poll");
        let start = std::sync::Barrier::new(3);
        let reap = || {
            start.wait();
            let exit = child.process().clone().reap().expect("own child");
            assert_eq!(exit.status.and_then(|s| s.code()), Some(6), "round {round}");
        };
        std::thread::scope(|scope| {
            let reapers = [(); 3].map(|()| scope.spawn(reap));
            for reaper in reapers {
                reaper.join().expect("thread");
            }
        });
    }
}

#[test]
fn pidfd_from_elsewhere_is_a_process() {
    for flags in [PidfdFlags::empty(), PidfdFlags::NONBLOCK] {
        let child = sleeper();
        let pidfd = pidfd_of(&child, flags);
        fcntl_setfd(&pidfd, FdFlags::empty()).expect("fcntl");
        let process = Process::from_pidfd(pidfd).expect("a pidfd");
        assert_eq!(process.pid(), Pid::from_child(&child));
        assert_eq!(fcntl_getfd(&process).expect("fcntl"), FdFlags::CLOEXEC);
        assert_eq!(process.try_wait().expect("poll"), None);
        let failed = process.reap().expect_err("it lives");
        assert!(
            matches!(failed.error, Error::NotReady(_)),
            "{flags:?}: {failed}"
        );

        let process = failed.process;
        process.send_signal(Signal::KILL).expect("own child");
        assert!(killed(&process));
        process.reap().expect("own child");
    }
}

/// pidfd_open(2): a waitid that may wait says EAGAIN of such a one. None of ours may.
#[test]
fn pidfd_that_does_not_block_is_as_good_as_any() {
    let child = workspace_tests::Held::new();
    let flags = rustix::process::PidfdFlags::NONBLOCK;
    let pidfd = match rustix::process::pidfd_open(child.process().pid(), flags) {
        Ok(pidfd) => pidfd,
        Err(error) => {
            eprintln!("skipped: PIDFD_NONBLOCK came with Linux 5.10 ({error})");
            return;
        }
    };
    let process = Process::from_pidfd(pidfd).expect("a pidfd");
    assert_eq!(process.try_wait().expect("poll"), None);
    let watcher = pidfd_watcher::Watcher::new().expect("watcher");
    let (told, callback) = workspace_tests::Told::pair();
    watcher
        .watch_and_reap(process.clone(), callback)
        .expect("own child, alive");
    child.exit(9);
    let told_or_not = process.wait().expect("poll").status.and_then(|s| s.code());
    // Perhaps before the reaping.
    assert!(
        told_or_not == Some(9) || told_or_not == looked_at(9),
        "{told_or_not:?}"
    );
    assert_eq!(told.code(), Some(9));
}

#[test]
fn descriptors_that_are_no_pidfd_are_refused() {
    let child = sleeper();
    let pid = child.id();
    let pidfd = pidfd_of(&child, PidfdFlags::empty());
    let path = OFlags::PATH | OFlags::CLOEXEC;
    let again = format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&pidfd.as_fd())
    );
    let (pipe, _) = rustix::pipe::pipe().expect("pipe");
    let mut others: Vec<(&str, OwnedFd)> = vec![
        ("file", File::open("/proc/self/exe").expect("file").into()),
        (
            "folder of the process",
            File::open(format!("/proc/{pid}")).expect("folder").into(),
        ),
        ("device", File::open("/dev/null").expect("device").into()),
        ("pipe", pipe),
        (
            "epoll",
            rustix::event::epoll::create(rustix::event::epoll::CreateFlags::CLOEXEC)
                .expect("epoll"),
        ),
        (
            "eventfd",
            rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).expect("eventfd"),
        ),
    ];
    // An O_PATH descriptor cannot be polled, even when it leads to a pidfd.
    others.extend(
        open(again.as_str(), path, Mode::empty())
            .ok()
            .map(|fd| ("path", fd)),
    );
    others.extend(
        pidfd_open(getpid(), PIDFD_THREAD)
            .ok()
            .map(|fd| ("pidfd of a thread", fd)),
    );
    for (what, fd) in others {
        match Process::from_pidfd(fd) {
            Err(error @ Error::NotPidfd(_)) => {
                assert_eq!(error.raw_os_error(), Some(libc::EBADF), "{what}");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn pidfd_of_a_reaped_process_is_not_found() {
    let mut child = sleeper();
    let pidfd = pidfd_of(&child, PidfdFlags::empty());
    child.kill().expect("kill");
    child.wait_deadline();
    let error = Process::from_pidfd(pidfd).expect_err("reaped");
    assert!(matches!(error, Error::NotFound(_)), "{error}");
}

#[test]
fn error_keeps_its_source_and_names_its_errno() {
    let error = Process::open(Pid::from_raw(i32::MAX).expect("a number")).expect_err("nobody");
    assert!(error.to_string().contains("os error 3"), "{error}");
    let source = std::error::Error::source(&error).expect("a source");
    let source = source
        .downcast_ref::<std::io::Error>()
        .expect("the kernel's");
    assert_eq!(source.raw_os_error(), Some(libc::ESRCH));
    assert_eq!(
        std::io::Error::from(error).raw_os_error(),
        Some(libc::ESRCH)
    );
}
