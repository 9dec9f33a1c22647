//! A watcher without a thread, driven by a loop of the caller's.

use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use pidfd_watcher::{Builder, Cancelled, Driver, Error, Process, Signal, Watcher};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use workspace_tests::fork::Fork;
use workspace_tests::target::sleeper;
use workspace_tests::{Guard, alone, proc_fs, time_limit, until};

fn driven() -> (Watcher, Driver) {
    Builder::new().build_driven().expect("a watcher")
}

fn child() -> (Guard, Process) {
    let mut child = sleeper();
    let process = Process::from_child(&mut child).expect("own child");
    (child, process)
}

fn kill(process: &Process) {
    process.send_signal(Signal::KILL).expect("own child");
    process
        .wait_timeout(time_limit())
        .expect("poll")
        .expect("dead");
}

/// Whether there is something to tell, now or within a time.
fn is_readable(driver: &Driver, time: Duration) -> bool {
    let time = Timespec::try_from(time).expect("a time");
    let mut fds = [PollFd::new(driver, PollFlags::IN)];
    poll(&mut fds, Some(&time)).expect("poll") == 1
}

/// Dispatches until it is so.
fn drive(driver: &mut Driver, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < time_limit(), "nobody was told");
        is_readable(driver, time_limit());
        driver.dispatch().expect("dispatch");
    }
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task");
    tasks.expect("/proc").count()
}

#[test]
fn callback_runs_on_the_thread_that_dispatches_and_no_other_is_started() {
    alone!({
        let (watcher, mut driver) = driven();
        let (_child, process) = child();
        let (tell, told) = channel();
        let watched = watcher.watch(&process, move |exit| {
            tell.send((exit, thread::current().id())).expect("heard");
        });
        watched.expect("watch");
        assert!(!is_readable(&driver, Duration::ZERO), "it lives");
        kill(&process);
        assert!(is_readable(&driver, time_limit()));
        told.try_recv().expect_err("nothing is told by itself");
        assert!(driver.dispatch().expect("dispatch"), "that was all");
        let (exit, on) = told.try_recv().expect("told");
        assert_eq!((exit.pid, on), (process.pid(), thread::current().id()));
        assert!(!is_readable(&driver, Duration::ZERO), "it was told");
        assert_eq!(threads(), 1);
    });
}

/// By its edges alone: whatever is told must leave none behind.
#[test]
fn async_fd_of_tokio_drives_a_watcher_and_needs_no_thread() {
    alone!({
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let (watcher, driver) = driven();
        let children: Vec<_> = (0..300).map(|_| child()).collect();
        let count = Arc::new(AtomicUsize::new(0));
        for (_, process) in &children {
            let count = Arc::clone(&count);
            let watched = watcher.watch(process, move |_| {
                count.fetch_add(1, Ordering::Relaxed);
            });
            watched.expect("watch");
        }
        let time = watcher.sleep(Duration::from_millis(20));
        for (_, process) in &children {
            process.send_signal(Signal::KILL).expect("own child");
        }
        let driving = async {
            // SAFETY: the descriptor is the driver's as long as the driver lives, which stays
            // inside.
            let driver = unsafe { AsyncFd::register_with_interest(driver, Interest::READABLE) };
            let mut driver = driver.expect("register");
            loop {
                let mut ready = driver.readable_mut().await.expect("readable");
                while !ready.get_inner_mut().dispatch().expect("dispatch") {}
                ready.clear_ready();
            }
        };
        let told = async {
            time.await.expect("told");
            while count.load(Ordering::Relaxed) < children.len() {
                tokio::task::yield_now().await;
            }
        };
        runtime.block_on(async {
            tokio::select! {
                () = driving => unreachable!("it does not end"),
                told = tokio::time::timeout(time_limit(), told) => told.expect("all are told"),
            }
        });
        assert_eq!(threads(), 1);
    });
}

#[test]
fn futures_and_times_are_woken_by_dispatch() {
    let (watcher, mut driver) = driven();
    let (_child, process) = child();
    let mut exited = pin!(watcher.exited(&process));
    let mut time = pin!(watcher.sleep(Duration::from_millis(1)));
    assert!(poll_once(exited.as_mut()).is_pending());
    drive(&mut driver, || poll_once(time.as_mut()).is_ready());
    kill(&process);
    drive(&mut driver, || poll_once(exited.as_mut()).is_ready());
}

#[test]
fn cancel_in_a_callback_does_not_wait_and_elsewhere_it_is_certain() {
    let (watcher, mut driver) = driven();
    let (_child, process) = child();
    let (give, given) = channel();
    let (tell, told) = channel();
    let own = watcher.watch(&process, move |_| {
        let own: pidfd_watcher::WatchHandle = given.recv().expect("its own handle");
        tell.send(own.cancel()).expect("heard");
    });
    give.send(own.expect("watch")).expect("heard");
    let other = watcher.watch(&process, |_| panic!("taken back"));
    assert_eq!(other.expect("watch").cancel(), Cancelled::Prevented);
    kill(&process);
    driver.dispatch().expect("dispatch");
    assert_eq!(told.try_recv(), Ok(Cancelled::Running));
}

#[test]
fn callbacks_that_watch_without_end_do_not_keep_the_callers_loop() {
    fn again(watcher: Watcher, process: Process, count: Arc<AtomicUsize>) {
        count.fetch_add(1, Ordering::Relaxed);
        let (next, of) = (watcher.clone(), process.clone());
        let watched = watcher.watch(&process, move |_| again(next, of, count));
        watched.expect("watch");
    }
    let (watcher, mut driver) = driven();
    let (_child, process) = child();
    let count = Arc::new(AtomicUsize::new(0));
    again(watcher.clone(), process.clone(), Arc::clone(&count));
    kill(&process);
    for _ in 0..3 {
        let before = count.load(Ordering::Relaxed);
        assert!(!driver.dispatch().expect("dispatch"), "there is more");
        assert!(count.load(Ordering::Relaxed) > before);
    }
}

#[test]
fn panic_of_a_callback_ends_there() {
    let (watcher, mut driver) = driven();
    let (_child, process) = child();
    let count = Arc::new(AtomicUsize::new(0));
    watcher
        .watch(&process, |_| panic!("on purpose"))
        .expect("watch");
    let told = Arc::clone(&count);
    let watched = watcher.watch(&process, move |_| told.store(1, Ordering::Relaxed));
    watched.expect("watch");
    kill(&process);
    driver.dispatch().expect("dispatch");
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

// The end.

#[test]
fn child_is_reaped_after_the_last_watcher_and_then_nothing_is_left_to_do() {
    alone!({
        let (watcher, mut driver) = driven();
        let (child, process) = child();
        let number = process.pid().as_raw_nonzero().get();
        let (tell, told) = channel();
        let watched = watcher.watch_and_reap(process.clone(), move |exit| {
            tell.send(exit).expect("heard");
        });
        watched.expect("watch");
        drop(watcher);
        driver.dispatch().expect("dispatch");
        assert!(!driver.is_finished(), "a child is still to be reaped");
        kill(&process);
        driver.dispatch().expect("dispatch");
        assert_eq!(told.try_recv().expect("told").pid, process.pid());
        assert_eq!(proc_fs::stat(number), None, "reaped");
        assert!(driver.is_finished());
        std::mem::forget(child);
    });
}

#[test]
fn driver_that_is_dropped_tells_no_more_and_leaves_no_zombie() {
    alone!({
        let (watcher, driver) = driven();
        let before = proc_fs::own_fds().len() - 2;
        let (child, process) = child();
        let captured = Arc::new(());
        let kept = Arc::clone(&captured);
        watcher.watch(&process, move |_| drop(kept)).expect("watch");
        let reaped = watcher.watch_and_reap(process.clone(), |_| {});
        reaped.expect("watch");
        let mut exited = pin!(watcher.exited(&process));
        let mut time = pin!(watcher.sleep(time_limit()));
        assert!(poll_once(exited.as_mut()).is_pending());
        assert!(poll_once(time.as_mut()).is_pending());
        drop(driver);
        assert_eq!(Arc::strong_count(&captured), 1, "dropped unrun");
        assert!(matches!(
            poll_once(exited.as_mut()),
            Poll::Ready(Err(Error::ShutDown))
        ));
        assert!(matches!(
            poll_once(time.as_mut()),
            Poll::Ready(Err(Error::ShutDown))
        ));
        let refused = watcher
            .watch(&process, |_| {})
            .expect_err("nobody dispatches");
        assert!(matches!(refused, Error::ShutDown), "{refused}");
        // The child's own pidfd and pipe; the watcher that reaps in the background has two.
        assert!(proc_fs::own_fds().len() <= before + 2 + 2 + 1);
        kill(&process);
        let number = process.pid().as_raw_nonzero().get();
        until("reaped in the background", || {
            proc_fs::stat(number).is_none().then_some(())
        });
        std::mem::forget(child);
    });
}

#[test]
fn shutdown_gives_back_the_children_that_live() {
    let (watcher, driver) = driven();
    let (_child, process) = child();
    let watched = watcher.watch_and_reap(process.clone(), |_| {});
    watched.expect("watch");
    let unreaped = watcher.clone().shutdown().expect("shut down");
    let [process] = &unreaped[..] else {
        panic!("{unreaped:?}");
    };
    assert!(driver.is_finished());
    kill(process);
    process.clone().reap().expect("ours again");
    let refused = watcher.watch(process, |_| {}).expect_err("shut down");
    assert!(matches!(refused, Error::ShutDown), "{refused}");
}

#[test]
fn copy_made_by_fork_drives_nothing_and_harms_nothing() {
    alone!({
        let (watcher, driver) = driven();
        let (_child, process) = child();
        let told = Cell::new(false);
        let (tell, heard) = channel();
        watcher
            .watch(&process, move |_| tell.send(()).expect("heard"))
            .expect("watch");
        let driver = Cell::new(Some(driver));
        Fork::run(|| {
            let mut copy = driver.take().expect("the copy's own");
            let error = copy.dispatch().expect_err("a copy");
            assert!(matches!(error, Error::ForkedCopy), "{error}");
            assert!(!copy.is_finished());
            drop(copy);
        })
        .succeeds();
        kill(&process);
        let mut driver = driver.take().expect("the parent's");
        drive(&mut driver, || {
            told.set(told.get() || heard.try_recv().is_ok());
            told.get()
        });
    });
}
