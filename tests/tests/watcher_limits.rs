//! A watcher that is refused something: a typed error, and nothing is left behind.

use pidfd_watcher::{Error, Process, WatchHandle, Watcher};
use rustix::process::{Resource, Rlimit, setrlimit};
use workspace_tests::namespace::looked_at;
use workspace_tests::{Held, Told, alone, fd_limit, proc_fs, seccomp, until};

/// Every number that waiting for an epoll instance may go by.
#[cfg(target_arch = "x86_64")]
const WAITS: [libc::c_long; 3] = [
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
];

#[cfg(not(target_arch = "x86_64"))]
const WAITS: [libc::c_long; 2] = [libc::SYS_epoll_pwait, libc::SYS_epoll_pwait2];

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").expect("/proc").count()
}

/// Whether the watcher's thread waits for events.
fn waits() -> bool {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc");
    tasks.flatten().any(|task| {
        let read = |name| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let call = read("syscall");
        read("comm") == "pidfd-watcher\n"
            && WAITS
                .iter()
                .any(|wait| call.split(' ').next() == Some(&wait.to_string()))
    })
}

/// Room for none, for one, for two: a watcher needs two.
#[test]
fn without_descriptors_there_is_no_watcher_and_a_watch_needs_none() {
    alone!({
        let mut fds = proc_fs::own_fds();
        let first = *fds.keys().max().expect("0 to 2") + 1;
        assert_eq!(
            fds.len(),
            usize::try_from(first).expect("positive"),
            "no gap: {fds:?}"
        );
        for room in 0..=2 {
            let limit = u64::try_from(first + room).expect("positive");
            let made = fd_limit::with(limit, Watcher::new);
            if room == 2 {
                drop(made.expect("room enough"));
                continue;
            }
            let error = made.expect_err("no number left");
            assert!(matches!(error, Error::TooManyOpenFiles(_)), "{error}");
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
            assert_eq!((proc_fs::own_fds(), threads()), (fds.clone(), 1));
        }
        until("the watcher's own are gone", || {
            (proc_fs::own_fds() == fds).then_some(())
        });
        // With every number taken a watch is no different: it opens none.
        let watcher = Watcher::new().expect("watcher");
        let child = Held::new();
        fds = proc_fs::own_fds();
        fd_limit::set(u64::try_from(*fds.keys().max().expect("some") + 1).expect("positive"));
        let (told, _) = Told::by(&watcher, child.process());
        child.exit(3);
        assert_eq!(told.code(), looked_at(3));
    });
}

/// The calls named fail, with one errno after the other.
fn refused(calls: &[libc::c_long]) {
    let before = (proc_fs::own_fds(), threads());
    for errno in [libc::EPERM, libc::ENOSYS] {
        let filter: Vec<_> = calls.iter().map(|&call| (call, errno)).collect();
        seccomp::refuse(&filter);
        for error in [
            Watcher::new().expect_err("refused"),
            Watcher::global().expect_err("refused"),
        ] {
            let right = match errno {
                libc::EPERM => matches!(error, Error::PermissionDenied(_)),
                _ => matches!(error, Error::Unsupported(_)),
            };
            assert!(right, "{errno}: {error:?}");
            assert_eq!(error.raw_os_error(), Some(errno));
        }
        assert_eq!((proc_fs::own_fds(), threads()), before);
    }
}

#[test]
fn refused_epoll_create_is_a_typed_error() {
    alone!({
        refused(&[libc::SYS_epoll_create1]);
    });
}

#[test]
fn refused_eventfd_is_a_typed_error() {
    alone!({
        refused(&[libc::SYS_eventfd2]);
    });
}

#[test]
fn refused_epoll_ctl_is_a_typed_error() {
    alone!({
        refused(&[libc::SYS_epoll_ctl]);
    });
}

#[test]
fn refused_epoll_wait_is_a_typed_error_of_the_call_that_makes_the_watcher() {
    alone!({
        refused(&WAITS);
    });
}

#[test]
fn refused_thread_is_a_typed_error() {
    alone!({
        refused(&[libc::SYS_clone, libc::SYS_clone3]);
    });
}

struct WatchesWhenDropped<F: FnOnce() -> WatchHandle>(Option<F>);

impl<F: FnOnce() -> WatchHandle> Drop for WatchesWhenDropped<F> {
    fn drop(&mut self) {
        drop(self.0.take().map(|watch| watch()));
    }
}

/// The limit is one for the whole system, so a filter stands for it.
#[test]
fn watch_limit_is_a_typed_error_and_what_is_watched_goes_on() {
    alone!({
        let watcher = Watcher::new().expect("watcher");
        let (child, other) = (Held::new(), Held::new());
        let (told, handle) = Told::by(&watcher, child.process());
        seccomp::refuse(&[(libc::SYS_epoll_ctl, libc::ENOSPC)]);
        for _ in 0..2 {
            let (refused, callback) = Told::pair();
            let error = watcher
                .watch(other.process(), callback)
                .expect_err("no watch left");
            refused.was_dropped();
            assert!(matches!(error, Error::WatchLimit(_)), "{error}");
            assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
            let (refused, callback) = Told::pair();
            let failed = watcher.watch_and_reap(other.process().clone(), callback);
            let failed = failed.expect_err("no watch left");
            refused.was_dropped();
            assert!(matches!(failed.error, Error::WatchLimit(_)), "{failed}");
            assert_eq!(failed.process.pid(), other.process().pid());
            let mut future = std::pin::pin!(watcher.exited(other.process()));
            for _ in 0..2 {
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                let std::task::Poll::Ready(Err(Error::WatchLimit(_))) =
                    std::future::Future::poll(future.as_mut(), &mut context)
                else {
                    panic!("no watch left");
                };
            }
        }
        // What a refused callback had captured may call the watcher back when it is dropped.
        let (own, process) = (watcher.clone(), child.process().clone());
        let (third, callback) = Told::pair();
        let capture = WatchesWhenDropped(Some(move || {
            own.watch(&process, callback).expect("registered already")
        }));
        let refused = watcher.watch(other.process(), move |_| drop(capture));
        assert!(matches!(refused, Err(Error::WatchLimit(_))), "{refused:?}");
        // One more on what is registered already costs no watch.
        let (second, _) = Told::by(&watcher, child.process());
        child.exit(4);
        assert_eq!(
            [told.code(), second.code(), third.code()],
            [looked_at(4); 3]
        );
        let _ = handle.cancel();
        // What was refused is nobody's to reap.
        other.exit(5);
        other.process().wait().expect("own child");
        assert_eq!(proc_fs::stat(other.pid()).map(|stat| stat.state), Some('Z'));
        assert_eq!(
            other
                .process()
                .clone()
                .reap()
                .expect("own child")
                .status
                .and_then(|s| s.code()),
            Some(5)
        );
    });
}

#[test]
fn watch_limit_is_a_typed_error_of_a_new_watcher() {
    alone!({
        let before = (proc_fs::own_fds(), threads());
        seccomp::refuse(&[(libc::SYS_epoll_ctl, libc::ENOSPC)]);
        let error = Watcher::new().expect_err("no watch left");
        assert!(matches!(error, Error::WatchLimit(_)), "{error}");
        assert_eq!((proc_fs::own_fds(), threads()), before);
    });
}

/// A filter that comes when the thread waits already: whoever waits is told that nobody will tell.
#[test]
fn wait_that_is_refused_later_shuts_the_watcher_down() {
    alone!({
        let watcher = Watcher::new().expect("watcher");
        let (child, other) = (Held::new(), Held::new());
        let (told, _) = Told::by(&watcher, child.process());
        let (never, _) = Told::by(&watcher, other.process());
        let mut future = watcher.exited(other.process());
        until("the thread waits", || waits().then_some(()));
        seccomp::refuse(&WAITS.map(|call| (call, libc::EPERM)));
        child.exit(1);
        assert_eq!(told.code(), looked_at(1), "the wait that was under way");
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        until(
            "the future is shut down",
            || match std::future::Future::poll(std::pin::Pin::new(&mut future), &mut context) {
                std::task::Poll::Ready(Err(Error::ShutDown)) => Some(()),
                std::task::Poll::Ready(other) => panic!("{other:?}"),
                std::task::Poll::Pending => None,
            },
        );
        never.was_dropped();
        let (refused, callback) = Told::pair();
        let error = watcher
            .watch(other.process(), callback)
            .expect_err("nobody would tell");
        assert!(matches!(error, Error::ShutDown), "{error}");
        refused.was_dropped();
    });
}

/// As before Linux 6.15: what a reaping tells is all that will ever be known, and it is kept.
#[test]
fn status_that_a_reaping_told_is_kept_where_the_kernel_tells_it_no_more() {
    alone!({
        seccomp::refuse(&[(libc::SYS_ioctl, libc::ENOTTY)]);
        let watcher = Watcher::new().expect("watcher");
        let child = Held::new();
        let (told, callback) = Told::pair();
        watcher
            .watch_and_reap(child.process().clone(), callback)
            .expect("own child");
        child.exit(6);
        assert_eq!(told.code(), Some(6));
        let late = [Told::by(&watcher, child.process()).0.exit(), {
            child.process().clone().reap().expect("it was our child")
        }];
        assert_eq!(
            late.map(|exit| exit.status.and_then(|s| s.code())),
            [Some(6); 2]
        );
    });
}

/// As somebody who may have no more processes than there are.
#[test]
fn limit_on_processes_is_a_typed_error() {
    alone!({
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root to become somebody with a limit of his own");
            return;
        }
        // A number that nobody else here is likely to have.
        let id: libc::c_long = 64_123;
        let limit = Rlimit {
            current: Some(1),
            maximum: Some(1),
        };
        setrlimit(Resource::Nproc, limit).expect("setrlimit");
        // SAFETY: plain numbers; raw calls, and this process has one thread.
        let done = unsafe {
            libc::syscall(libc::SYS_setgroups, 0, 0) == 0
                && libc::syscall(libc::SYS_setresgid, id, id, id) == 0
                && libc::syscall(libc::SYS_setresuid, id, id, id) == 0
        };
        assert!(done, "{}", std::io::Error::last_os_error());
        let before = (proc_fs::own_fds(), threads());
        let error = Watcher::new().expect_err("no thread left");
        assert!(matches!(error, Error::TooManyProcesses(_)), "{error:?}");
        assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
        // SAFETY: the child ends at once.
        let error = unsafe { Process::fork(|| 0) }.expect_err("no process left");
        assert!(matches!(error, Error::TooManyProcesses(_)), "{error:?}");
        assert_eq!((proc_fs::own_fds(), threads()), before);
    });
}
