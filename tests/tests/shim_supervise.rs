//! Being told of a shim's end, and what dropped handles leave: nothing.

use std::os::unix::process::ExitStatusExt;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::thread::Thread;
use std::time::{Duration, Instant};

use shim_spawner::{
    Cancelled, Exit, ExitFuture, ShimHandler, ShimSpawner, Stdio, StopPolicy, Watcher,
};
use workspace_tests::namespace::looked_at;
use workspace_tests::orders::Order;
use workspace_tests::{alone, fd_table, proc_fs, time_limit, until};

/// The cases find their shims where Cargo put them.
#[test]
fn fixtures_are_found_where_cargo_put_them() {
    for (name, program) in [
        ("shim_box", env!("CARGO_BIN_EXE_shim_box")),
        ("proc_target", env!("CARGO_BIN_EXE_proc_target")),
    ] {
        assert_eq!(fd_table::fixture(name).as_os_str(), program);
    }
}

/// A fixture without streams.
fn program(name: &str) -> ShimSpawner {
    let mut spawner = ShimSpawner::new(fd_table::fixture(name));
    spawner.stdin(Stdio::null()).stdout(Stdio::null());
    spawner
}

fn spawn(spawner: &mut ShimSpawner) -> ShimHandler {
    ShimHandler::new(spawner.spawn().expect("spawn"))
}

/// Ends by itself with `code`.
fn ends(code: i32) -> ShimHandler {
    spawn(program("proc_target").arg(Order::Exit { code }.argument()))
}

/// A shim with a watchdog, which ends when it is let go of.
fn shim_box() -> ShimHandler {
    spawn(program("shim_box").stop_policy(StopPolicy::new().grace(Duration::from_secs(20))))
}

fn no_children() {
    until("no child is left, dead or alive", || {
        let own = std::process::id().cast_signed();
        proc_fs::children_of(own).is_empty().then_some(())
    });
}

/// Told once, with the exact status, by any number of callbacks; the shim stays to be reaped.
fn on_exit() {
    let mut handler = ends(7);
    let (tell, told) = mpsc::channel();
    for _ in 0..3 {
        let tell = tell.clone();
        handler
            .on_exit(move |exit| tell.send(exit).expect("the test listens"))
            .expect("watch");
    }
    for _ in 0..3 {
        let exit: Exit = told.recv_timeout(time_limit()).expect("told");
        assert_eq!(exit.pid, handler.pid());
        assert_eq!(exit.status.and_then(|status| status.code()), looked_at(7));
    }
    assert_eq!(
        handler
            .stop()
            .expect("reap")
            .exit()
            .status
            .expect("own child")
            .code(),
        Some(7)
    );
    // Reaped: a new one is told all the same, and the same.
    handler
        .on_exit(move |exit| tell.send(exit).expect("the test listens"))
        .expect("watch");
    let exit = told.recv_timeout(time_limit()).expect("told");
    assert_eq!(exit.status.and_then(|status| status.code()), Some(7));
    assert!(told.recv().is_err(), "each once");

    let living = shim_box();
    let handle = living.on_exit(|_| panic!("taken back")).expect("watch");
    assert_eq!(handle.cancel(), Cancelled::Prevented);
    drop(living);
    no_children();
}

#[test]
fn exit_of_a_shim_is_told_to_each_callback_once_with_its_status() {
    alone!({
        on_exit();
    });
}

/// Unparks the thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on(future: ExitFuture) -> Exit {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let start = Instant::now();
    loop {
        if let Poll::Ready(exit) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return exit.expect("watched");
        }
        assert!(
            start.elapsed() < time_limit(),
            "deadline passed: the future"
        );
        thread::park_timeout(time_limit());
    }
}

fn exited() {
    let mut handler = shim_box();
    let (first, second) = (handler.exited(), handler.exited());
    drop(handler.exited());
    handler.kill().expect("kill");
    for future in [first, second] {
        let status = block_on(future).status.expect("own child");
        assert_eq!(status.signal(), Some(libc::SIGKILL));
    }
    let status = handler.wait().expect("reap").status.expect("own child");
    assert_eq!(status.signal(), Some(libc::SIGKILL));
    no_children();
}

#[test]
fn exit_of_a_shim_is_a_future_for_any_executor() {
    alone!({
        exited();
    });
}

/// The handler lives in the very callback that it is for, and is dropped there.
#[test]
fn handler_dropped_in_its_own_callback_leaves_no_zombie() {
    alone!({
        let handler = Arc::new(std::sync::Mutex::new(None));
        let theirs = Arc::clone(&handler);
        let shim = ends(3);
        let (tell, told) = mpsc::channel();
        // Filled before the callback can look.
        let mut place = handler.lock().expect("not poisoned");
        shim.on_exit(move |exit| {
            let shim: Option<ShimHandler> = theirs.lock().expect("not poisoned").take();
            drop(shim.expect("put there before"));
            tell.send(exit).expect("the test listens");
        })
        .expect("watch");
        *place = Some(shim);
        drop(place);
        let exit = told.recv_timeout(time_limit()).expect("told");
        assert_eq!(exit.status.and_then(|status| status.code()), looked_at(3));
        no_children();
    });
}

/// The first shim of a process is dropped when no descriptor is left to start a watcher with: it is
/// reaped.
#[test]
fn shim_dropped_when_no_descriptor_is_left_for_a_watcher_is_reaped() {
    alone!({
        let (one, other) = (shim_box(), shim_box());
        let mut taken = Vec::new();
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: both calls have a valid place for the limit.
        unsafe {
            assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
            let lowered = libc::rlimit {
                rlim_cur: 64,
                ..limit
            };
            assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const lowered), 0);
        }
        while let Ok(fd) = rustix::io::dup(rustix::stdio::stderr()) {
            taken.push(fd);
        }
        Watcher::global().expect_err("no descriptor is left");
        other.on_exit(|_| ()).expect_err("no descriptor is left");
        drop((one, other));
        // /proc needs a descriptor; the number of children does not.
        until("both are reaped", || {
            let none = rustix::process::WaitIdOptions::EXITED
                | rustix::process::WaitIdOptions::NOHANG
                | rustix::process::WaitIdOptions::NOWAIT;
            let left = rustix::process::waitid(rustix::process::WaitId::All, none);
            matches!(left, Err(rustix::io::Errno::CHILD)).then_some(())
        });
        drop(taken);
    });
}

/// Three thousand shims spawned, dropped, killed and stopped in random order.
#[test]
fn three_thousand_shims_spawned_dropped_and_stopped_in_random_order_leave_nothing() {
    alone!({
        const SHIMS: usize = 3_000;
        const AT_ONCE: usize = 40;
        // What the watcher and the sentinel have for all shims stays: let it be there before we
        // count.
        Watcher::global().expect("a watcher");
        drop(shim_box());
        no_children();
        // The watcher closes the first shim's pidfd only after it was reaped.
        let before = until("no pidfd is left", || {
            let fds = proc_fs::own_fds();
            let has_pidfd = fds.values().any(|name| name.contains("pidfd"));
            (!has_pidfd).then_some(fds)
        });
        let told = Arc::new(AtomicU32::new(0));
        let mut random = fastrand::Rng::with_seed(0x5eed_0001);
        let mut alive: Vec<ShimHandler> = Vec::new();
        let mut watched = 0;
        for spawned in 0..SHIMS {
            let shim = shim_box();
            if random.usize(..2) == 0 {
                watched += 1;
                let told = Arc::clone(&told);
                shim.on_exit(move |_| {
                    told.fetch_add(1, Ordering::Relaxed);
                })
                .expect("watch");
            }
            alive.push(shim);
            while alive.len() > AT_ONCE || (spawned + 1 == SHIMS && !alive.is_empty()) {
                let mut shim = alive.swap_remove(random.usize(..alive.len()));
                match random.usize(..4) {
                    0 => drop(shim),
                    1 => {
                        shim.kill().expect("kill");
                        drop(shim);
                    }
                    2 => {
                        let status = shim.stop().expect("stop").exit();
                        let status = status.status.expect("own child");
                        assert_eq!(status.signal(), Some(libc::SIGTERM));
                    }
                    _ => {
                        shim.kill().expect("kill");
                        let status = shim.wait().expect("wait").status.expect("own child");
                        assert_eq!(status.signal(), Some(libc::SIGKILL));
                    }
                }
            }
        }
        no_children();
        until("every callback has run", || {
            (told.load(Ordering::Relaxed) == watched).then_some(())
        });
        until("no descriptor is left", || {
            (proc_fs::own_fds() == before).then_some(())
        });
    });
}
