//! Scenarios of a watcher that count what this process has open, or change what it may do.

use std::os::fd::AsRawFd;
use std::process::{Command, ExitCode};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use pidfd_watcher::{Builder, Cancelled, Error, Pid, Process, Watcher};
use workspace_tests::fork::Fork;
use workspace_tests::namespace::looked_at;
use workspace_tests::namespace::{self, kernel};
use workspace_tests::scenario::Scenario;
use workspace_tests::{Held, Told, fd_table, proc_fs, until};

const SCENARIOS: &[Scenario] = &[
    ("panics", panics),
    ("panics-unheard", panics_unheard),
    ("interrupted", interrupted),
    ("global-at-once", global_at_once),
    ("sigchld-ignored", sigchld_ignored),
    ("recycled", recycled),
    ("recycled-inside", recycled_inside),
    ("leaves-nothing", leaves_nothing),
    ("opens-nothing-more", opens_nothing_more),
];

fn main() -> ExitCode {
    fd_table::run(SCENARIOS)
}

/// One callback panics, under the default report; the next one runs.
fn panics() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    watcher
        .watch(child.process(), |_| panic!("as planned"))
        .expect("watch");
    let (after, _) = Told::by(&watcher, child.process());
    child.exit(6);
    assert_eq!(after.code(), looked_at(6));
}

/// Standard error that takes nothing, and none: a report that cannot be written is not a panic of its own.
fn panics_unheard() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    std::panic::set_hook(Box::new(|_| {
        PANICS.fetch_add(1, Ordering::Relaxed);
    }));
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .expect("open");
    // SAFETY: nothing in this process owns the number, here and below.
    assert_eq!(unsafe { libc::dup2(full.as_raw_fd(), 2) }, 2);
    panics();
    // SAFETY: as above.
    unsafe { libc::close(2) };
    panics();
    assert_eq!(PANICS.load(Ordering::Relaxed), 2);
}

/// epoll_wait is interrupted by a stop and by the C library's own signals, whatever is blocked: signal(7).
fn interrupted() {
    let watcher = Watcher::new().expect("watcher");
    let (child, live) = (Held::new(), Held::new());
    let (told, _) = Told::by(&watcher, child.process());
    let (waits, _) = Told::by(&watcher, live.process());
    let own = std::process::id().cast_signed();
    for _ in 0..20 {
        until("the thread waits", || watcher_waits().then_some(()));
        // SAFETY: a fork of two threads, one of which sleeps in epoll_wait; the copy makes system calls alone.
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
}

/// Whether the watcher's thread sleeps.
fn watcher_waits() -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc");
    tasks.flatten().any(|task| {
        let read = |name| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        read("comm") == "pidfd-watcher\n" && read("syscall").split(' ').count() > 2
    })
}

/// Threads that ask for the global watcher at once, as the first of their process, are given the same one.
fn global_at_once() {
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
}

/// The kernel reaps: told all the same, and the status is right where it can be known.
fn sigchld_ignored() {
    // SAFETY: sets a disposition, installs no handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let watcher = Watcher::new().expect("watcher");
    for code in [0, 5] {
        let child = Held::new();
        let (told, _) = Told::by(&watcher, child.process());
        // It lives, so it is ours to wait for; when it dies there is nothing left to reap.
        let (charged, callback) = Told::pair();
        watcher
            .watch_and_reap(child.process().clone(), callback)
            .expect("a live child");
        child.exit(code);
        let code = i32::from(code);
        for told in [told, charged] {
            let known = told.code();
            assert!(
                known == Some(code) || (known.is_none() && kernel() < (6, 15)),
                "{known:?}"
            );
        }
        let (late, callback) = Told::pair();
        let failed = watcher
            .watch_and_reap(child.process().clone(), callback)
            .expect_err("nothing to reap");
        late.was_dropped();
        assert!(matches!(failed.error, Error::NotChild(_)), "{failed}");
    }
}

fn recycled() {
    let own = std::env::args_os().next().expect("a name");
    namespace::run_inside(Command::new(own).arg("recycled-inside"));
}

/// As pid 1 of a namespace with few numbers: the dead and the newcomer have one number, and two fates.
fn recycled_inside() {
    namespace::mount_proc();
    if !namespace::few_numbers() {
        return;
    }
    let watcher = Watcher::new().expect("watcher");
    until("numbers that come again", || {
        (Held::new().pid() > 300).then_some(())
    });

    let dead = Held::new();
    let number = dead.pid();
    let unseen = Process::open(dead.process().pid()).expect("own child");
    let (told, callback) = Told::pair();
    watcher
        .watch_and_reap(dead.process().clone(), callback)
        .expect("own child");
    dead.exit(7);
    assert_eq!(told.code(), Some(7));

    let newcomer = until("number comes round", || {
        let child = Held::new();
        (child.pid() == number).then_some(child)
    });
    let (new, handle) = Told::by(&watcher, newcomer.process());
    // Watched only now that its number is another's: told of its own end, from its own status.
    let old = Told::by(&watcher, &unseen).0.code();
    assert_eq!(old, (kernel() >= (6, 15)).then_some(7));
    let (told, callback) = Told::pair();
    let failed = watcher
        .watch_and_reap(unseen.clone(), callback)
        .expect_err("it is gone");
    assert!(matches!(failed.error, Error::NotChild(_)), "{failed}");
    told.was_dropped();
    new.is_waiting();
    assert!(proc_fs::is_running(number));
    newcomer.exit(9);
    assert_eq!(new.code(), looked_at(9));
    assert_eq!(handle.cancel(), Cancelled::AlreadyRan);
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("/proc").count()
}

/// After the last watcher: no thread, no descriptor, no process kept open, whatever handles are kept.
fn leaves_nothing() {
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
}

/// Two descriptors and a thread for a watcher, and none for any watch.
fn opens_nothing_more() {
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
}
