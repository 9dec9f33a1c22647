//! A stop and a wait as futures: on any executor, with no thread that waits; a stop that was begun
//! goes on when its future is dropped.

use std::fs;
use std::future::Future;
use std::pin::pin;
use std::process::ExitStatus;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use pidfd_watcher::{Error, Watcher};
use shim_spawner::{ShimHandler, ShimSpawner, StopError};
use workspace_tests::namespace::kernel;
use workspace_tests::pack::{
    OBEDIENT, Pack, STUBBORN, code, ended, grace, is_killed, raw, wait_end,
};
use workspace_tests::{
    alone, alone_in_pid_namespace, fd_limit, proc_fs, seccomp, time_limit, until,
};

#[path = "../../shim-spawner/examples/smol.rs"]
mod example_smol;
#[path = "../../shim-spawner/examples/tokio.rs"]
mod example_tokio;

fn tokio_block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime
        .block_on(async { tokio::time::timeout(time_limit(), future).await })
        .expect("tokio is woken")
}

fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").expect("/proc").count()
}

fn is_code(status: Option<ExitStatus>, code: i32) {
    assert_eq!(status.expect("own child").code(), Some(code));
}

#[test]
fn example_of_tokio_runs() {
    alone_in_pid_namespace!({
        example_tokio::main().expect("it runs");
    });
}

#[test]
fn example_of_smol_runs() {
    alone_in_pid_namespace!({
        example_smol::main().expect("it runs");
    });
}

#[test]
fn member_that_ignores_the_stop_signal_is_killed_on_any_executor() {
    alone_in_pid_namespace!({
        for on_tokio in [false, true] {
            let mut pack = Pack::start(&[STUBBORN, OBEDIENT], "wait");
            let start = Instant::now();
            let report = if on_tokio {
                tokio_block_on(pack.handler.stop_async())
            } else {
                smol::block_on(pack.handler.stop_async())
            };
            let report = report.expect("stop");
            assert!(start.elapsed() >= grace(), "the grace was cut short");
            pack.is_gone();
            assert_eq!(code(&report), Some(5));
            assert!(report.is_empty(), "{report:?}");
            is_killed(&report, &[&pack.members[0]]);
            assert!(!pack.handler.is_attached());
            assert_eq!(proc_fs::stat(raw(&pack.handler.pid())), None, "reaped");
        }
    });
}

/// A runtime may send the future to another thread.
#[test]
fn stop_is_a_future_that_can_be_sent() {
    fn is_send<T: Send>(_: &T) {}
    alone!({
        let mut pack = Pack::start(&[], "sleep 1000");
        is_send(&pack.handler.wait_async());
        is_send(&pack.handler.wait_timeout_async(grace()));
        let stop = pack.handler.stop_async();
        is_send(&stop);
        drop(stop);
        assert!(pack.stop().is_empty());
    });
}

/// Fifty stops, each with a member to be killed after a grace, are this thread's, the watcher's and
/// the sentinel's alone.
#[test]
fn no_thread_waits_for_fifty_stops_at_once() {
    alone_in_pid_namespace!({
        let mut packs: Vec<Pack> = (0..50).map(|_| Pack::start(&[STUBBORN], "wait")).collect();
        let start = Instant::now();
        let stops = packs.iter_mut().map(|pack| pack.handler.stop_async());
        let mut stops: Vec<_> = stops.map(Box::pin).collect();
        let mut reports = Vec::new();
        let mut most = 0;
        tokio_block_on(std::future::poll_fn(|context| {
            stops.retain_mut(|stop| match stop.as_mut().poll(context) {
                Poll::Ready(report) => {
                    reports.push(report.expect("stop"));
                    false
                }
                Poll::Pending => true,
            });
            most = most.max(threads());
            if stops.is_empty() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        }));
        assert!(start.elapsed() >= grace(), "the grace was cut short");
        drop(stops);
        assert_eq!(reports.len(), packs.len());
        for report in &reports {
            assert!(report.is_empty() && report.killed().count() == Some(1));
        }
        packs.iter().for_each(Pack::is_gone);
        assert!(most <= 3, "{most} threads");
    });
}

// Dropped.

#[test]
fn stop_that_was_never_polled_has_not_begun() {
    alone_in_pid_namespace!({
        let mut pack = Pack::start(&[OBEDIENT], "wait");
        seccomp::refuse(&[(libc::SYS_pidfd_send_signal, libc::EPERM)]);
        let stop = pack.handler.stop_async();
        drop(stop);
        assert!(!ended(pack.handler.process()) && !ended(&pack.members[0]));
        assert!(pack.handler.is_attached());
        // One that is polled has begun: the filter stands in for what would be signalled.
        let polled = poll_once(pin!(pack.handler.stop_async()));
        assert!(
            matches!(
                polled,
                Poll::Ready(Err(StopError::Process(Error::PermissionDenied(_))))
            ),
            "{polled:?}"
        );
    });
}

#[test]
fn stop_that_was_begun_goes_on_when_its_future_is_dropped() {
    alone_in_pid_namespace!({
        let mut pack = Pack::start(&[STUBBORN], "wait");
        let start = Instant::now();
        {
            let mut stop = pin!(pack.handler.stop_async());
            assert!(poll_once(stop.as_mut()).is_pending());
        }
        wait_end(&pack.members[0]);
        assert!(start.elapsed() >= grace(), "the grace was cut short");
        until("the shim is reaped", || {
            proc_fs::stat(raw(&pack.handler.pid()))
                .is_none()
                .then_some(())
        });
        let report = smol::block_on(pack.handler.stop_async()).expect("once more");
        assert_eq!(code(&report), Some(5));
        // Before Linux 6.9 nothing tells the zombie of this group from a stranger's: it was reaped.
        assert_eq!(report.is_empty(), kernel() >= (6, 9), "{report:?}");
        is_killed(&report, &[]);
    });
}

/// The handler goes too, in the middle: what was begun is ended all the same.
#[test]
fn stop_that_was_begun_goes_on_when_its_handler_is_dropped() {
    alone_in_pid_namespace!({
        for () in seccomp::each_way_to_a_group() {
            let mut pack = Pack::start(&[STUBBORN], "wait");
            {
                let mut stop = pin!(pack.handler.stop_async());
                assert!(poll_once(stop.as_mut()).is_pending());
            }
            let mut other = ShimSpawner::new("/bin/true").spawn().map(ShimHandler::new);
            std::mem::swap(&mut pack.handler, other.as_mut().expect("spawn"));
            let shim = raw(&other.as_ref().expect("spawn").pid());
            drop(other);
            wait_end(&pack.members[0]);
            until("the shim is reaped", || {
                proc_fs::stat(shim).is_none().then_some(())
            });
        }
    });
}

/// Whoever shuts down the watcher that all share does not keep a stop from its end.
#[test]
fn stop_outlives_the_watcher_that_it_waits_by() {
    alone_in_pid_namespace!({
        for dropped in [false, true] {
            let mut pack = Pack::start(&[STUBBORN], "wait");
            {
                let mut stop = pin!(pack.handler.stop_async());
                assert!(poll_once(stop.as_mut()).is_pending());
                if !dropped {
                    let watcher = Watcher::global().expect("a watcher").clone();
                    drop(watcher.shutdown().expect("shut down"));
                    let report = smol::block_on(stop).expect("stop");
                    is_killed(&report, &[&pack.members[0]]);
                }
            }
            if dropped {
                let watcher = Watcher::global().expect("a watcher").clone();
                drop(watcher.shutdown().expect("shut down"));
                wait_end(&pack.members[0]);
            }
        }
    });
}

/// What a future needs to come back is had before anybody is signalled.
#[test]
fn stop_without_a_descriptor_is_an_error_and_signals_nobody() {
    alone_in_pid_namespace!({
        let mut pack = Pack::start(&[OBEDIENT], "wait");
        // A signal, if one were sent, would be refused, and that be the error.
        seccomp::refuse(&[(libc::SYS_pidfd_send_signal, libc::EPERM)]);
        let polled = fd_limit::with(64, || {
            let _no_more = fd_limit::fill();
            poll_once(pin!(pack.handler.stop_async()))
        });
        assert!(
            matches!(
                polled,
                Poll::Ready(Err(StopError::Process(Error::TooManyOpenFiles(_))))
            ),
            "{polled:?}"
        );
        assert!(pack.handler.is_attached());
    });
}

// Waiting.

#[test]
fn wait_reaps_and_a_dropped_one_has_done_nothing() {
    alone_in_pid_namespace!({
        let mut pack = Pack::start(&[], "exit 7");
        {
            let mut wait = pin!(pack.handler.wait_async());
            let _ = poll_once(wait.as_mut());
        }
        wait_end(pack.handler.process());
        assert!(pack.handler.is_attached());
        let number = raw(&pack.handler.pid());
        assert!(proc_fs::stat(number).expect("a zombie").is_zombie());
        let exit = smol::block_on(pack.handler.wait_async()).expect("wait");
        is_code(exit.status, 7);
        assert_eq!(proc_fs::stat(number), None, "reaped");
        assert!(!pack.handler.is_attached());
        let again = tokio_block_on(pack.handler.wait_async()).expect("wait");
        assert_eq!(again, exit);
    });
}

#[test]
fn wait_that_is_timed_ends_with_the_time_or_with_the_shim() {
    alone_in_pid_namespace!({
        let mut pack = Pack::start(&[OBEDIENT], "wait");
        let start = Instant::now();
        let wait = pack.handler.wait_timeout_async(grace());
        assert_eq!(smol::block_on(wait).expect("wait"), None);
        assert!(start.elapsed() >= grace());
        assert!(pack.handler.is_attached());
        pack.handler
            .signal(pidfd_watcher::Signal::TERM)
            .expect("own child");
        let wait = pack.handler.wait_timeout_async(time_limit());
        let exit = tokio_block_on(wait).expect("wait").expect("ended");
        is_code(exit.status, 5);
        assert!(!pack.handler.is_attached());
    });
}
