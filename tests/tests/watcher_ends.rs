//! What a watcher holds, at rest and after the last one is gone.

use std::sync::Barrier;

use pidfd_watcher::{Builder, Cancelled, Pid, Process, Watcher};
use workspace_tests::fork::Fork;
use workspace_tests::namespace::looked_at;
use workspace_tests::{Held, Told, alone, proc_fs, until};

/// epoll_wait is interrupted by a stop and by the C library's own signals, whatever is blocked:
/// signal(7).
#[test]
fn stop_and_signals_of_the_c_library_interrupt_the_wait_and_end_nothing() {
    alone!({
        let watcher = Watcher::new().expect("watcher");
        let (child, live) = (Held::new(), Held::new());
        let (told, _) = Told::by(&watcher, child.process());
        let (waits, _) = Told::by(&watcher, live.process());
        let own = std::process::id().cast_signed();
        for _ in 0..20 {
            until("the thread waits", || watcher_waits().then_some(()));
            // SAFETY: a fork of two threads, one of which sleeps in epoll_wait; the copy makes
            // system calls alone.
            let starter = unsafe {
                Process::fork(|| {
                    libc::kill(own, libc::SIGSTOP);
                    while proc_fs::stat(own).is_none_or(|stat| stat.state != 'T') {}
                    libc::kill(own, libc::SIGCONT);
                    0
                })
            };
            let starter = starter.expect("fork");
            starter.wait().expect("poll");
            starter.reap().expect("own child");
            until("the thread waits", || watcher_waits().then_some(()));
            // SAFETY: no memory effect; the C library has every thread make the call.
            assert_eq!(unsafe { libc::setuid(libc::getuid()) }, 0);
        }
        waits.is_waiting();
        child.exit(5);
        assert_eq!(told.code(), looked_at(5));
        waits.is_waiting();
    });
}

/// Whether the watcher's thread sleeps.
fn watcher_waits() -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc");
    tasks.flatten().any(|task| {
        let read = |name| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        read("comm") == "pidfd-watcher\n" && read("syscall").split(' ').count() > 2
    })
}

/// Threads that ask for the global watcher at once, as the first of their process, are given the
/// same one.
#[test]
fn threads_that_ask_for_the_global_watcher_at_once_are_given_one() {
    alone!({
        for _ in 0..100 {
            Fork::run(|| {
                let before = threads();
                let barrier = Barrier::new(4);
                let ask = || {
                    barrier.wait();
                    std::ptr::from_ref(Watcher::global().expect("watcher")).addr()
                };
                let given: Vec<usize> = std::thread::scope(|scope| {
                    let askers = [(); 4].map(|()| scope.spawn(ask));
                    askers.map(|asker| asker.join().expect("thread")).into()
                });
                assert!(given.iter().all(|one| *one == given[0]), "{given:?}");
                // Those that came too late are gone, thread and descriptors.
                until("one thread more", || {
                    (threads() == before + 1).then_some(())
                });
                let child = Held::new();
                let (told, _) = Told::by(Watcher::global().expect("watcher"), child.process());
                child.exit(1);
                assert_eq!(told.code(), looked_at(1));
            })
            .succeeds();
        }
    });
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("/proc").count()
}

/// After the last watcher: no thread, no descriptor, no process kept open, whatever handles are
/// kept.
#[test]
fn after_the_last_watcher_there_is_no_thread_and_no_descriptor() {
    alone!({
        let before = (proc_fs::own_fds(), threads());
        for round in 0..3 {
            let watcher = match round {
                0 => Watcher::new().expect("watcher"),
                _ => Builder::new().on_panic(|_| {}).build().expect("watcher"),
            };
            let (live, dead) = (Held::new(), Held::new());
            dead.kill();
            dead.process().wait().expect("own child");
            let (waits, kept) = Told::by(&watcher, live.process());
            let (ran, kept_too) = Told::by(&watcher, dead.process());
            ran.exit();
            let future = watcher.exited(live.process());
            let clone = watcher.clone();
            drop(watcher);
            waits.is_waiting();
            drop(clone);
            waits.was_dropped();
            drop((live, dead));
            until("thread and descriptors are gone", || {
                ((proc_fs::own_fds(), threads()) == before).then_some(())
            });
            assert_eq!(kept.cancel(), Cancelled::Prevented);
            assert_eq!(kept_too.cancel(), Cancelled::AlreadyRan);
            drop(future);
        }
        // A reap that is owed keeps the thread until then, and no longer.
        let watcher = Watcher::new().expect("watcher");
        let child = Held::new();
        let (told, callback) = Told::pair();
        let handle = watcher
            .watch_and_reap(child.process().clone(), callback)
            .expect("own child");
        drop(watcher);
        assert_eq!(threads(), before.1 + 1);
        child.exit(1);
        assert_eq!(told.code(), Some(1));
        drop(child);
        until("thread and descriptors are gone", || {
            ((proc_fs::own_fds(), threads()) == before).then_some(())
        });
        drop(handle);
        // The last one may go inside a callback: the thread ends after it.
        let (watcher, child) = (Watcher::new().expect("watcher"), Held::new());
        let last = watcher.clone();
        let (told, callback) = Told::pair();
        watcher
            .watch(child.process(), move |exit| {
                drop(last);
                callback(exit);
            })
            .expect("watch");
        drop(watcher);
        child.exit(2);
        assert_eq!(told.code(), looked_at(2));
        drop(child);
        until("thread and descriptors are gone", || {
            ((proc_fs::own_fds(), threads()) == before).then_some(())
        });
    });
}

/// Two descriptors and a thread for a watcher, and none for any watch.
#[test]
fn watcher_opens_two_descriptors_and_a_watch_opens_none() {
    alone!({
        let children: Vec<Held> = (0..20).map(|_| Held::new()).collect();
        let before = (proc_fs::own_fds().len(), threads());
        let watcher = Watcher::new().expect("watcher");
        let clones: Vec<Watcher> = (0..5).map(|_| watcher.clone()).collect();
        let mut kept = Vec::new();
        let mut futures = Vec::new();
        for child in children.iter().cycle().take(200) {
            kept.push(Told::by(&watcher, child.process()));
            futures.push(watcher.exited(child.process()));
        }
        assert_eq!(
            (proc_fs::own_fds().len(), threads()),
            (before.0 + 2, before.1 + 1)
        );
        let flags = proc_fs::own_fds()
            .into_iter()
            .filter(|(_, file)| file.starts_with("anon_inode:"));
        for (fd, file) in flags {
            // SAFETY: the flags of an open descriptor, which is this process's own.
            let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
            assert_eq!(flags, libc::FD_CLOEXEC, "{file}");
        }
        drop((clones, kept, futures));
        let _: Pid = children[0].process().pid();
    });
}
