//! An exit as a future: for any executor, and as good as a callback.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;

use pidfd_watcher::{Error, Exit, ExitFuture, Watcher};
use workspace_tests::namespace::looked_at;
use workspace_tests::{Held, Told, proc_fs, time_limit, until};

fn code(exit: Result<Exit, Error>) -> Option<i32> {
    exit.expect("an exit")
        .status
        .and_then(|status| status.code())
}

/// The smallest executor there is.
fn block_on<F: Future + Unpin>(mut future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let deadline = Instant::now() + time_limit();
    loop {
        match Pin::new(&mut future).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park_timeout(time_limit()),
        }
        assert!(Instant::now() < deadline, "nobody wakes the future");
    }
}

/// Tokio's, with its own notion of a deadline.
fn tokio_block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("runtime");
    runtime
        .block_on(async { tokio::time::timeout(time_limit(), future).await })
        .expect("tokio is woken")
}

/// Smol's, and its.
fn smol_block_on<F: Future>(future: F) -> F::Output {
    let late = async {
        smol::Timer::after(time_limit()).await;
        panic!("smol is not woken");
    };
    smol::block_on(smol::future::or(future, late))
}

/// Counts how often it is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Count {
    fn new() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (Arc::clone(&count), Waker::from(count))
    }

    fn is(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

fn poll(future: &mut ExitFuture, waker: &Waker) -> Poll<Result<Exit, Error>> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

#[test]
fn bare_block_on_is_executor_enough() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    thread::scope(|scope| {
        let waits = scope.spawn(|| block_on(watcher.exited(child.process())));
        until("the future waits", || {
            proc_fs::watched_by_epoll(child.process()).then_some(())
        });
        child.exit(1);
        assert_eq!(code(waits.join().expect("thread")), looked_at(1));
    });
    // Dead before it is asked.
    assert_eq!(
        code(block_on(watcher.exited(child.process()))),
        looked_at(1)
    );
}

#[test]
fn tokio_and_smol_are_executors_like_any() {
    let watcher = Watcher::new().expect("watcher");
    let children = [(); 8].map(|()| Held::new());
    let codes: Vec<Option<i32>> = tokio_block_on(async {
        let tasks: Vec<_> = children
            .iter()
            .map(|child| tokio::spawn(watcher.exited(child.process())))
            .collect();
        for (child, n) in children.iter().zip(1..) {
            child.exit(n);
        }
        let mut codes = Vec::new();
        for task in tasks {
            codes.push(code(task.await.expect("task")));
        }
        codes
    });
    assert_eq!(codes, (1..=8).map(looked_at).collect::<Vec<_>>());

    let children = [(); 8].map(|()| Held::new());
    let codes: Vec<Option<i32>> = smol_block_on(async {
        let tasks: Vec<_> = children
            .iter()
            .map(|child| smol::spawn(watcher.exited(child.process())))
            .collect();
        for (child, n) in children.iter().zip(11..) {
            child.exit(n);
        }
        let mut codes = Vec::new();
        for task in tasks {
            codes.push(code(task.await));
        }
        codes
    });
    assert_eq!(codes, (11..=18).map(looked_at).collect::<Vec<_>>());
}

#[test]
fn tokio_select_drops_the_loser_and_nothing_is_left_of_it() {
    let watcher = Watcher::new().expect("watcher");
    let (first, second) = (Held::new(), Held::new());
    let tasks = async {
        let mut one = watcher.exited(first.process());
        let mut other = watcher.exited(second.process());
        second.exit(7);
        std::future::poll_fn(|context| {
            assert!(Pin::new(&mut one).poll(context).is_pending());
            Pin::new(&mut other).poll(context)
        })
        .await
    };
    assert_eq!(code(tokio_block_on(tasks)), looked_at(7));
    assert!(!proc_fs::watched_by_epoll(first.process()));
}

#[test]
fn dropped_future_leaves_the_watcher_and_wakes_nobody() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    let (count, waker) = Count::new();
    let mut future = watcher.exited(child.process());
    assert!(poll(&mut future, &waker).is_pending());
    assert!(proc_fs::watched_by_epoll(child.process()));
    drop(future);
    assert!(!proc_fs::watched_by_epoll(child.process()));
    assert_eq!(count.is(), 0, "nobody waits for a future that is gone");
    assert_eq!(
        Arc::strong_count(&count),
        2,
        "the future's waker is gone with it"
    );
    child.exit(0);
    Told::by(&watcher, child.process()).0.exit();
    assert_eq!(count.is(), 0);
}

#[test]
fn future_is_woken_once_and_answers_as_often_as_it_is_asked() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    let (count, waker) = Count::new();
    let mut future = watcher.exited(child.process());
    for _ in 0..3 {
        assert!(poll(&mut future, &waker).is_pending());
    }
    child.exit(2);
    until("woken", || (count.is() > 0).then_some(()));
    for _ in 0..3 {
        let Poll::Ready(exit) = poll(&mut future, &waker) else {
            panic!("ready once is ready for good");
        };
        assert_eq!(code(exit), looked_at(2));
    }
    drop(future);
    assert_eq!(count.is(), 1);
}

#[test]
fn future_that_is_polled_late_has_been_watching_all_the_while() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    let mut future = watcher.exited(child.process());
    child.exit(3);
    // Told, and reaped, before the first poll: the future kept what it heard.
    Told::by(&watcher, child.process()).0.exit();
    child.process().clone().reap().expect("own child");
    let (count, waker) = Count::new();
    let Poll::Ready(exit) = poll(&mut future, &waker) else {
        panic!("it was told before this watcher's next callback");
    };
    assert_eq!(code(exit), looked_at(3));
    assert_eq!(count.is(), 0);
}

#[test]
fn future_that_moves_to_another_task_wakes_that_one_alone() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    let ((old, old_waker), (new, new_waker)) = (Count::new(), Count::new());
    let mut future = watcher.exited(child.process());
    assert!(poll(&mut future, &old_waker).is_pending());
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut future = future;
            assert!(poll(&mut future, &new_waker).is_pending());
            child.exit(4);
            until("woken", || (new.is() > 0).then_some(()));
            let Poll::Ready(exit) = poll(&mut future, &new_waker) else {
                panic!("woken for nothing");
            };
            assert_eq!(code(exit), looked_at(4));
        });
    });
    assert_eq!((old.is(), new.is()), (0, 1));
    assert_eq!(Arc::strong_count(&old), 2, "the old task's waker is let go");
}

#[test]
fn last_watcher_gone_is_an_answer_and_wakes_who_waits() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    let (count, waker) = Count::new();
    let (mut polled, mut unpolled) = (
        watcher.exited(child.process()),
        watcher.exited(child.process()),
    );
    assert!(poll(&mut polled, &waker).is_pending());
    let clone = watcher.clone();
    drop(watcher);
    assert!(
        poll(&mut polled, &waker).is_pending(),
        "it was not the last one"
    );
    drop(clone);
    assert_eq!(count.is(), 1);
    for future in [&mut polled, &mut unpolled] {
        for _ in 0..2 {
            assert!(matches!(
                poll(future, &waker),
                Poll::Ready(Err(Error::ShutDown))
            ));
        }
    }
}

#[test]
fn exit_that_was_told_outlives_the_watcher() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    let mut future = watcher.exited(child.process());
    child.exit(5);
    Told::by(&watcher, child.process()).0.exit();
    drop(watcher);
    let (_, waker) = Count::new();
    let Poll::Ready(exit) = poll(&mut future, &waker) else {
        panic!("told long ago");
    };
    assert_eq!(code(exit), looked_at(5));
}

/// Drops the future that it is to wake; that is on the watcher's thread, while the callback runs.
struct DropsWhenWoken(
    std::sync::Mutex<Option<ExitFuture>>,
    std::sync::mpsc::Sender<()>,
);

impl Wake for DropsWhenWoken {
    fn wake(self: Arc<Self>) {
        drop(self.0.lock().expect("no panic").take());
        let _ = self.1.send(());
    }
}

#[test]
fn future_may_be_dropped_by_the_waker_that_it_wakes() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    let (say, said) = channel();
    let task = Arc::new(DropsWhenWoken(std::sync::Mutex::default(), say));
    let waker = Waker::from(Arc::clone(&task));
    let mut future = watcher.exited(child.process());
    assert!(poll(&mut future, &waker).is_pending());
    *task.0.lock().expect("no panic") = Some(future);
    child.exit(0);
    said.recv_timeout(time_limit()).expect("woken");
    Told::by(&watcher, child.process()).0.exit();
}

/// Futures that are polled, dropped and told at once, from several threads.
#[test]
fn futures_that_race_with_the_exit_are_told_or_dropped_and_nothing_else() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    child.exit(6);
    child.process().wait().expect("own child");
    thread::scope(|scope| {
        for n in 0..4 {
            let (watcher, process) = (&watcher, child.process());
            scope.spawn(move || {
                for round in 0..1_000 {
                    let mut future = watcher.exited(process);
                    match (n + round) % 3 {
                        0 => drop(future),
                        1 => {
                            let (_, waker) = Count::new();
                            let _ = poll(&mut future, &waker);
                        }
                        _ => assert_eq!(code(block_on(future)), looked_at(6)),
                    }
                }
            });
        }
    });
}
