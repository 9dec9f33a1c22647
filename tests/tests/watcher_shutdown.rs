//! `Watcher::shutdown`: the thread is gone when it returns, and everything is told or given back.

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Waker};

use pidfd_watcher::{Cancelled, Error, Exit, ExitFuture, Watcher};
use workspace_tests::fork::Fork;
use workspace_tests::namespace::looked_at;
use workspace_tests::{Held, Told, alone, proc_fs, seccomp, time_limit, until};

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("/proc").count()
}

fn poll(future: std::pin::Pin<&mut ExitFuture>) -> Poll<Result<Exit, Error>> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn after_a_shutdown_the_kernel_counts_one_thread() {
    alone!({
        let before = proc_fs::own_fds();
        let mut kept = Vec::new();
        for round in 0..2000 {
            let watcher = Watcher::new().expect("watcher");
            kept.push(watcher.clone());
            assert!(watcher.shutdown().expect("shut down").is_empty());
            // Does nothing in a process of one thread, and is refused in any other: unshare(2). It
            // is the question that the kernel asks before it makes a user namespace.
            // SAFETY: no effect.
            let failed = unsafe { libc::unshare(libc::CLONE_THREAD) } != 0;
            let error = std::io::Error::last_os_error();
            assert!(!failed, "round {round}: {error}");
        }
        assert_eq!((threads(), proc_fs::own_fds()), (1, before));
    });
}

#[test]
fn after_a_shutdown_a_user_namespace_can_be_unshared() {
    /// The error, if a process of one thread may not make a user namespace.
    fn unshare() -> Option<std::io::Error> {
        // SAFETY: plain number; the copies that call this end at once.
        let failed = unsafe { libc::unshare(libc::CLONE_NEWUSER) } != 0;
        failed.then(std::io::Error::last_os_error)
    }
    alone!({
        let allowed = Fork::run(|| assert!(unshare().is_none(), "not here")).wait();
        if !allowed.success() {
            eprintln!("skipped: no user namespace to be had here");
            return;
        }
        let watcher = Watcher::new().expect("watcher");
        assert!(unshare().is_some(), "a process of two threads");
        watcher.shutdown().expect("shut down");
        assert!(unshare().is_none(), "refused");
    });
}

#[test]
fn shutdown_drops_what_waits_and_the_other_clones_are_told() {
    let watcher = Watcher::new().expect("watcher");
    let other = watcher.clone();
    let child = Held::new();
    let (told, handle) = Told::by(&watcher, child.process());
    let mut future = pin!(watcher.exited(child.process()));
    assert!(watcher.shutdown().expect("shut down").is_empty());
    told.was_dropped();
    assert_eq!(handle.cancel(), Cancelled::Prevented);
    for _ in 0..2 {
        let polled = poll(future.as_mut());
        assert!(matches!(polled, Poll::Ready(Err(Error::ShutDown))));
    }
    let error = other.watch(child.process(), drop).expect_err("shut down");
    assert!(matches!(error, Error::ShutDown), "{error}");
    let failed = other
        .watch_and_reap(child.process().clone(), drop)
        .expect_err("shut down");
    assert!(matches!(failed.error, Error::ShutDown), "{failed}");
    let late = poll(pin!(other.exited(child.process())));
    assert!(matches!(late, Poll::Ready(Err(Error::ShutDown))));
    assert!(other.shutdown().expect("twice is once").is_empty());
}

#[test]
fn shutdown_gives_living_children_back_and_reaps_the_dead() {
    let watcher = Watcher::new().expect("watcher");
    let other = watcher.clone();
    let (live, dead, holds) = (Held::new(), Held::new(), Held::new());
    let (told_live, callback) = Told::pair();
    watcher
        .watch_and_reap(live.process().clone(), callback)
        .expect("own child");
    let (told_dead, callback) = Told::pair();
    watcher
        .watch_and_reap(dead.process().clone(), callback)
        .expect("own child");
    // A callback that runs until it is told to end, so that the thread does not see the other exit.
    let ((go, goes), (say, says)) = (channel::<()>(), channel());
    let running = move |_| {
        say.send(()).expect("the test listens");
        let _ = goes.recv_timeout(time_limit());
    };
    watcher.watch(holds.process(), running).expect("watch");
    holds.exit(0);
    says.recv_timeout(time_limit()).expect("it runs");
    dead.exit(1);
    dead.process().wait().expect("poll");
    let shutter = std::thread::spawn(move || watcher.shutdown());
    until("it is shut down", || {
        matches!(other.watch(live.process(), drop), Err(Error::ShutDown)).then_some(())
    });
    assert!(!shutter.is_finished(), "a callback runs");
    go.send(()).expect("the callback listens");
    let unreaped = shutter.join().expect("no panic").expect("shut down");
    let pids: Vec<_> = unreaped.iter().map(|process| process.pid()).collect();
    assert_eq!(pids, [live.process().pid()]);
    for told in [told_live, told_dead] {
        told.was_dropped();
    }
    assert_eq!(proc_fs::stat(dead.pid()), None, "reaped");
    live.exit(2);
    let process = unreaped.into_iter().next().expect("one");
    process.wait().expect("poll");
    let exit = process.reap().expect("ours again");
    assert_eq!(exit.status.and_then(|status| status.code()), Some(2));
}

#[test]
fn shutdown_in_a_callback_says_so_and_ends_nothing() {
    let watcher = Watcher::new().expect("watcher");
    let other = Watcher::new().expect("watcher");
    let child = Held::new();
    let (say, says) = channel();
    let clones = [watcher.clone(), other.clone()];
    let callback = move |_| {
        for clone in clones {
            say.send(clone.shutdown().map(drop))
                .expect("the test listens");
        }
    };
    watcher.watch(child.process(), callback).expect("watch");
    child.exit(0);
    for _ in 0..2 {
        let failed = says.recv_timeout(time_limit()).expect("it runs");
        let failed = failed.expect_err("on a dispatch thread");
        assert_eq!(failed.error.raw_os_error(), Some(libc::EDEADLK), "{failed}");
    }
    for watcher in [watcher, other] {
        assert_eq!(Told::by(&watcher, child.process()).0.code(), looked_at(0));
        watcher.shutdown().expect("shut down");
    }
}

#[test]
fn shutdown_in_a_copy_made_by_fork_ends_nothing() {
    alone!({
        let watcher = Watcher::new().expect("watcher");
        let child = Held::new();
        let (told, _) = Told::by(&watcher, child.process());
        Fork::run(|| {
            let failed = watcher.clone().shutdown().expect_err("a copy");
            assert!(matches!(failed.error, Error::ForkedCopy), "{failed}");
        })
        .succeeds();
        child.exit(4);
        assert_eq!(told.code(), looked_at(4));
    });
}

#[test]
fn global_watcher_that_was_shut_down_is_followed_by_another() {
    alone!({
        let before = proc_fs::own_fds();
        for _ in 0..3 {
            let watcher = Watcher::global().expect("watcher");
            {
                let child = Held::new();
                let (told, _) = Told::by(watcher, child.process());
                child.exit(5);
                assert_eq!(told.code(), looked_at(5));
            }
            watcher.clone().shutdown().expect("shut down");
            assert_eq!((threads(), proc_fs::own_fds()), (1, before.clone()));
        }
    });
}

#[test]
fn two_shutdowns_at_once_both_wait_for_the_end() {
    alone!({
        for _ in 0..200 {
            let watcher = Watcher::new().expect("watcher");
            let before = proc_fs::own_fds().len();
            let other = watcher.clone();
            let second = std::thread::spawn(move || {
                other.shutdown().expect("shut down");
                proc_fs::own_fds().len()
            });
            watcher.shutdown().expect("shut down");
            assert!(second.join().expect("no panic") < before);
        }
    });
}

#[test]
fn shutdown_that_cannot_wake_the_thread_is_an_error_and_does_not_wait() {
    alone!({
        let watcher = Watcher::new().expect("watcher");
        let child = Held::new();
        let (told, _) = Told::by(&watcher, child.process());
        seccomp::refuse(&[(libc::SYS_write, libc::EPERM)]);
        let failed = watcher.shutdown().expect_err("refused");
        assert!(
            matches!(failed.error, Error::PermissionDenied(_)),
            "{failed}"
        );
        told.was_dropped();
    });
}

#[test]
fn shutdown_that_cannot_see_whether_the_thread_is_gone_is_an_error() {
    alone!({
        for call in [libc::SYS_tgkill, libc::SYS_getpid, libc::SYS_gettid] {
            Fork::run(|| {
                seccomp::refuse(&[(call, libc::EPERM)]);
                let failed = Watcher::new().expect("watcher").shutdown();
                let failed = failed.expect_err("refused");
                assert!(
                    matches!(failed.error, Error::PermissionDenied(_)),
                    "{call}: {failed}"
                );
            })
            .succeeds();
        }
    });
}
