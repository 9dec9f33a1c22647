//! A watcher tells a time: by one more descriptor, for any number of futures, on any executor.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use pidfd_watcher::{Error, Process, Signal, Watcher};
use workspace_tests::fork::Fork;
use workspace_tests::target::sleeper;
use workspace_tests::{alone, fd_limit, proc_fs, time_limit};

const SHORT: Duration = Duration::from_millis(50);

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn block_on<F: Future>(future: F) -> F::Output {
    let late = async {
        smol::Timer::after(time_limit()).await;
        panic!("nobody was woken");
    };
    smol::block_on(smol::future::or(future, late))
}

#[test]
fn time_is_told_when_it_is_over_and_not_before() {
    let watcher = Watcher::new().expect("a watcher");
    for time in [Duration::ZERO, Duration::from_nanos(1), SHORT] {
        let start = Instant::now();
        let mut sleep = watcher.sleep(time);
        block_on(&mut sleep).expect("told");
        assert!(start.elapsed() >= time);
        block_on(&mut sleep).expect("the same answer again");
    }
}

/// The kernel's timer is set to the first of them, whichever came first; what was dropped is not
/// waited for, nor does it keep the others.
#[test]
fn times_are_told_in_their_order_whatever_the_order_in_which_they_came() {
    let watcher = Watcher::new().expect("a watcher");
    let start = Instant::now();
    let times: Vec<_> = [9, 3, 7, 1, 5, 3].map(|tenths| SHORT * tenths).into();
    let mut sleeps: Vec<_> = times
        .iter()
        .map(|&time| (time, watcher.sleep(time)))
        .collect();
    drop(watcher.sleep(SHORT / 2));
    let mut told = Vec::new();
    block_on(std::future::poll_fn(|context| {
        sleeps.retain_mut(|(time, sleep)| match Pin::new(sleep).poll(context) {
            Poll::Ready(over) => {
                over.expect("told");
                assert!(start.elapsed() >= *time);
                told.push(*time);
                false
            }
            Poll::Pending => true,
        });
        if sleeps.is_empty() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }));
    assert_eq!(told.len(), times.len());
}

#[test]
fn thousand_times_need_one_descriptor_and_no_thread() {
    alone!({
        let watcher = Watcher::new().expect("a watcher");
        let before = proc_fs::own_fds().len();
        let sleeps: Vec<_> = (0..1000).map(|_| watcher.sleep(time_limit())).collect();
        assert_eq!(proc_fs::own_fds().len(), before + 1);
        let threads = std::fs::read_dir("/proc/self/task").expect("/proc").count();
        assert_eq!(threads, 2, "this one and the watcher's");
        drop(sleeps);
        drop(watcher.shutdown().expect("shut down"));
        assert_eq!(
            proc_fs::own_fds().len(),
            before - 2,
            "and it goes with the watcher"
        );
    });
}

#[test]
fn time_beyond_the_clock_never_comes() {
    let watcher = Watcher::new().expect("a watcher");
    for endless in [Duration::MAX, Duration::from_secs(u64::MAX / 2)] {
        let mut sleep = pin!(watcher.sleep(endless));
        assert!(poll_once(sleep.as_mut()).is_pending());
        // Nor does it keep others from theirs.
        block_on(watcher.sleep(Duration::from_millis(1))).expect("told");
        assert!(poll_once(sleep.as_mut()).is_pending());
    }
}

#[test]
fn last_watcher_that_is_dropped_says_so_to_those_who_wait_for_a_time() {
    let watcher = Watcher::new().expect("a watcher");
    let mut over = watcher.sleep(Duration::ZERO);
    block_on(&mut over).expect("told");
    let mut sleep = pin!(watcher.sleep(time_limit() * 10));
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&woken));
    let polled = sleep.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    drop(watcher);
    assert!(woken.0.load(Ordering::Relaxed), "by the drop itself");
    let polled = poll_once(sleep);
    assert!(
        matches!(polled, Poll::Ready(Err(Error::ShutDown))),
        "{polled:?}"
    );
    block_on(&mut over).expect("what was told stays told");
}

#[test]
fn copy_made_by_fork_is_told_so() {
    alone!({
        let watcher = Watcher::new().expect("a watcher");
        let mut sleep = pin!(watcher.sleep(time_limit() * 10));
        assert!(poll_once(sleep.as_mut()).is_pending());
        Fork::run(|| {
            let polled = poll_once(sleep.as_mut());
            assert!(
                matches!(polled, Poll::Ready(Err(Error::ForkedCopy))),
                "{polled:?}"
            );
            let mut fresh = pin!(watcher.sleep(Duration::ZERO));
            let polled = poll_once(fresh.as_mut());
            assert!(
                matches!(polled, Poll::Ready(Err(Error::ForkedCopy))),
                "{polled:?}"
            );
        })
        .succeeds();
        assert!(poll_once(sleep.as_mut()).is_pending());
        block_on(watcher.sleep(SHORT)).expect("the copy has done nothing");
    });
}

#[test]
fn first_time_without_a_descriptor_is_an_error_and_the_next_one_is_told() {
    alone!({
        let watcher = Watcher::new().expect("a watcher");
        let polled = fd_limit::with(64, || {
            let _no_more = fd_limit::fill();
            poll_once(pin!(watcher.sleep(SHORT)))
        });
        assert!(
            matches!(polled, Poll::Ready(Err(Error::TooManyOpenFiles(_)))),
            "{polled:?}"
        );
        block_on(watcher.sleep(SHORT)).expect("told");
    });
}

#[test]
fn exit_within_a_time_is_the_exit_or_none() {
    let watcher = Watcher::new().expect("a watcher");
    let mut child = sleeper();
    let process = Process::from_child(&mut child).expect("own child");
    let start = Instant::now();
    let none = block_on(watcher.exited_within(&process, SHORT)).expect("told");
    assert_eq!(none, None);
    assert!(start.elapsed() >= SHORT);
    process.send_signal(Signal::KILL).expect("own child");
    let exit = block_on(watcher.exited_within(&process, time_limit())).expect("told");
    assert_eq!(exit.expect("ended").pid, process.pid());
}
