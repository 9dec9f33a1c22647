//! A process with a watcher is forked: the copy is inert, and the parent unharmed.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use pidfd_watcher::{Cancelled, Error, Exit, ExitFuture, Process, Watcher};
use workspace_tests::fork::Fork;
use workspace_tests::namespace::looked_at;
use workspace_tests::{Held, Told, alone, proc_fs, reaped};

fn poll(future: &mut ExitFuture) -> Poll<Result<Exit, Error>> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// The copy lets go of all that it has; what the parent watches stays registered and is told.
#[test]
fn copy_that_drops_everything_leaves_the_parents_watches_alone() {
    alone!({
        let watcher = Watcher::new().expect("watcher");
        let (child, other) = (Held::new(), Held::new());
        let (told, handle) = Told::by(&watcher, child.process());
        let (second, cancelled) = Told::by(&watcher, child.process());
        let (charged, callback) = Told::pair();
        watcher
            .watch_and_reap(other.process().clone(), callback)
            .expect("own child");
        let mut future = watcher.exited(child.process());
        let mut slot = Some((watcher, handle, cancelled));
        let mut kept = Some(future);
        Fork::run(|| {
            let (watcher, handle, cancelled) = slot.take().expect("the copy's");
            assert_eq!(cancelled.cancel(), Cancelled::Prevented);
            drop(kept.take());
            drop(handle);
            drop(watcher);
            second.is_waiting();
        })
        .succeeds();
        assert!(proc_fs::watched_by_epoll(child.process()));
        second.is_waiting();
        child.exit(1);
        other.exit(2);
        assert_eq!(
            [told.code(), second.code(), charged.code()],
            [looked_at(1), looked_at(1), Some(2)]
        );
        future = kept.expect("the parent's");
        let (watcher, ..) = slot.expect("the parent's");
        // Behind what was told before.
        Told::by(&watcher, child.process()).0.exit();
        assert!(matches!(poll(&mut future), Poll::Ready(Ok(_))));
    });
}

/// The copy is told so, whatever it asks for; and nothing it asks for happens.
#[test]
fn copy_is_told_what_it_is_whatever_it_asks_for() {
    alone!({
        let watcher = Watcher::new().expect("watcher");
        let child = Held::new();
        let (told, _handle) = Told::by(&watcher, child.process());
        let mut future = watcher.exited(child.process());
        Fork::run(|| {
            let (refused, callback) = Told::pair();
            let error = watcher
                .watch(child.process(), callback)
                .expect_err("a copy");
            assert!(matches!(error, Error::ForkedCopy), "{error}");
            assert_eq!(error.raw_os_error(), None);
            refused.was_dropped();
            // A child of its own, so that nothing else can be the reason.
            let own = Held::new();
            let (refused, callback) = Told::pair();
            let failed = watcher
                .watch_and_reap(own.process().clone(), callback)
                .expect_err("a copy");
            assert!(matches!(failed.error, Error::ForkedCopy), "{failed}");
            assert_eq!(failed.process.pid(), own.process().pid());
            refused.was_dropped();
            for _ in 0..2 {
                assert!(matches!(
                    poll(&mut future),
                    Poll::Ready(Err(Error::ForkedCopy))
                ));
                let mut late = watcher.exited(own.process());
                assert!(matches!(
                    poll(&mut late),
                    Poll::Ready(Err(Error::ForkedCopy))
                ));
            }
            // A watcher of its own is as good as any.
            let fresh = Watcher::new().expect("watcher");
            let (told, handle) = Told::by(&fresh, own.process());
            own.exit(3);
            assert_eq!(told.code(), looked_at(3));
            assert_eq!(handle.cancel(), Cancelled::AlreadyRan);
        })
        .succeeds();
        told.is_waiting();
        assert!(poll(&mut future).is_pending());
        child.exit(4);
        assert_eq!(told.code(), looked_at(4));
    });
}

/// Each generation has a global watcher of its own.
#[test]
fn global_watcher_of_a_copy_is_its_own() {
    alone!({
        fn works() -> *const Watcher {
            let watcher = Watcher::global().expect("watcher");
            let child = Held::new();
            let (told, _) = Told::by(watcher, child.process());
            child.exit(5);
            assert_eq!(told.code(), looked_at(5));
            watcher
        }
        let ours = works();
        Fork::run(|| {
            let theirs = works();
            assert_ne!(ours, theirs);
            Fork::run(|| assert_ne!(theirs, works())).succeeds();
            assert_eq!(theirs, works());
        })
        .succeeds();
        assert_eq!(ours, works());
    });
}

/// Both are pid 1, each in its namespace: a copy that asked getpid would take itself for the
/// parent.
#[test]
fn copy_that_has_its_parents_pid_knows_itself_for_a_copy() {
    alone!({
        let Some(first) = pid_1(|| {
            let mut watcher = Some(Watcher::new().expect("watcher"));
            let child = Held::new();
            let (told, handle) = Told::by(watcher.as_ref().expect("here"), child.process());
            let mut handle = Some(handle);
            let second = pid_1(|| {
                assert_eq!(std::process::id(), 1);
                let copy = watcher.take().expect("the copy's");
                assert!(matches!(
                    copy.watch(child.process(), drop),
                    Err(Error::ForkedCopy)
                ));
                assert_eq!(
                    handle.take().expect("the copy's").cancel(),
                    Cancelled::Prevented
                );
                drop(copy);
            });
            let exit = reaped(&second.expect("as the first"));
            assert!(
                exit.status.is_some_and(|status| status.success()),
                "{exit:?}"
            );
            child.exit(6);
            assert_eq!(told.code(), looked_at(6));
        }) else {
            return;
        };
        let exit = reaped(&first);
        assert!(
            exit.status.is_some_and(|status| status.success()),
            "{exit:?}"
        );
    });
}

/// A copy of this process in a PID namespace of its own.
fn pid_1(run: impl FnOnce()) -> Option<Process> {
    let flags = libc::CLONE_NEWPID | libc::SIGCHLD;
    // SAFETY: a fork, and neither memory nor stack is shared. This thread holds no lock, and the
    // watcher's, if there is one, sleeps in epoll_wait; the copy ends by _exit.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    if pid == 0 {
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err();
        // SAFETY: ends the copy.
        unsafe { libc::_exit(if panicked { 101 } else { 0 }) }
    }
    if pid < 0 {
        eprintln!(
            "skipped: no PID namespace to be had ({})",
            std::io::Error::last_os_error()
        );
        return None;
    }
    let pid = i32::try_from(pid)
        .ok()
        .and_then(pidfd_watcher::Pid::from_raw);
    Some(Process::open(pid.expect("a pid")).expect("own child"))
}

/// Copies are made at any moment of three threads that watch and cancel, and of a dispatch thread
/// that runs.
#[test]
fn copy_made_while_threads_watch_and_cancel_hangs_on_nothing() {
    alone!({
        let watcher = Watcher::global().expect("watcher");
        let (dead, live) = (Held::new(), Held::new());
        dead.kill();
        dead.process().wait().expect("own child");
        let (told, _handle) = Told::by(watcher, live.process());
        let mut future = Some(watcher.exited(live.process()));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        let handle = watcher.watch(dead.process(), drop).expect("watch");
                        drop(watcher.exited(live.process()));
                        let _ = handle.cancel();
                    }
                });
            }
            for _ in 0..60 {
                let (_told, handle) = Told::by(watcher, live.process());
                let mut handle = Some(handle);
                Fork::run(|| {
                    assert!(matches!(
                        watcher.watch(live.process(), drop),
                        Err(Error::ForkedCopy)
                    ));
                    assert!(matches!(
                        poll(future.as_mut().expect("ours")),
                        Poll::Ready(Err(Error::ForkedCopy))
                    ));
                    drop(future.take());
                    let handle = handle.take().expect("ours");
                    assert_eq!(handle.cancel(), Cancelled::Prevented);
                    drop(watcher.clone());
                    let own = Held::new();
                    let (told, _) = Told::by(Watcher::global().expect("watcher"), own.process());
                    own.exit(7);
                    assert_eq!(told.code(), looked_at(7));
                })
                .succeeds();
                let _ = handle.expect("ours").cancel();
            }
            done.store(true, Ordering::Relaxed);
        });
        live.exit(8);
        assert_eq!(told.code(), looked_at(8));
    });
}
