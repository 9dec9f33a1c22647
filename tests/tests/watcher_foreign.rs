//! What is not ours and yet is called by us: drops of captures and of wakers, which may call back
//! and may wait.

use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};
use std::thread;

use pidfd_watcher::{Cancelled, WatchHandle, Watcher};
use workspace_tests::namespace::looked_at;
use workspace_tests::{Held, Told, proc_fs, time_limit, until};

/// Whether a thread of this process sleeps in futex(2).
fn sleeps(tid: i32) -> bool {
    let call =
        std::fs::read_to_string(format!("/proc/self/task/{tid}/syscall")).unwrap_or_default();
    call.split(' ').next() == Some(&libc::SYS_futex.to_string())
}

fn own_tid() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

/// Runs something of its own when it is dropped.
struct WhenDropped<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> WhenDropped<F> {
    fn new(run: F) -> WhenDropped<F> {
        WhenDropped(Some(run))
    }
}

impl<F: FnOnce()> Drop for WhenDropped<F> {
    fn drop(&mut self) {
        if let Some(run) = self.0.take() {
            run();
        }
    }
}

/// Waits on another thread: what deadlocks is then a failure of the test, and no hang.
#[track_caller]
fn ends<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    let (say, said) = channel();
    let worker = thread::spawn(move || {
        let _ = say.send(what());
    });
    let result = said.recv_timeout(time_limit()).expect("it ends");
    worker.join().expect("thread");
    result
}

#[test]
fn captures_that_watch_and_cancel_may_be_dropped_by_a_cancel() {
    let watcher = Watcher::new().expect("watcher");
    let (child, other) = (Held::new(), Held::new());
    let (other_told, other_handle) = Told::by(&watcher, other.process());
    let (again, callback) = Told::pair();
    let (own, process) = (watcher.clone(), child.process().clone());
    let capture = WhenDropped::new(move || {
        let _ = own.watch(&process, callback).expect("watch");
        assert_eq!(other_handle.cancel(), Cancelled::Prevented);
    });
    let handle = watcher
        .watch(child.process(), move |_| drop(capture))
        .expect("watch");
    assert_eq!(ends(move || handle.cancel()), Cancelled::Prevented);
    other_told.was_dropped();
    child.exit(3);
    assert_eq!(again.code(), looked_at(3));
}

/// A capture whose drop says that it began, and ends when it is allowed to.
fn slow_drop() -> (impl FnOnce() + Send, Receiver<i32>, Sender<()>) {
    let ((begin, began), (let_go, may_end)) = (channel(), channel());
    let slow = move || {
        begin.send(own_tid()).expect("the test listens");
        may_end.recv_timeout(time_limit()).expect("let go");
    };
    (slow, began, let_go)
}

/// Two callbacks are being dropped with the last watcher: whoever cancels one of them meanwhile
/// waits for it.
#[test]
fn cancels_wait_for_what_the_last_watchers_end_is_dropping() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    let (slow, began, let_go) = slow_drop();
    let gone = Arc::new(Mutex::new(0));
    let count = Arc::clone(&gone);
    let capture = WhenDropped::new(move || {
        slow();
        *count.lock().expect("no panic") += 1;
    });
    let first = watcher.watch(child.process(), move |_| drop(capture));
    let count = Arc::clone(&gone);
    let capture = WhenDropped::new(move || *count.lock().expect("no panic") += 1);
    let second = watcher.watch(child.process(), move |_| drop(capture));
    let dropper = thread::spawn(move || drop(watcher));
    began.recv_timeout(time_limit()).expect("the drop began");
    let cancellers: Vec<_> = [first, second]
        .map(|handle: Result<WatchHandle, _>| {
            let (handle, gone) = (handle.expect("watch"), Arc::clone(&gone));
            let (say, who) = channel();
            let canceller = thread::spawn(move || {
                say.send(own_tid()).expect("the test listens");
                (handle.cancel(), *gone.lock().expect("no panic"))
            });
            (who.recv_timeout(time_limit()).expect("a thread"), canceller)
        })
        .into();
    for (tid, _) in &cancellers {
        until("the canceller waits", || sleeps(*tid).then_some(()));
    }
    let_go.send(()).expect("the drop waits");
    let answers = ends(|| {
        let join = |(_, canceller): (i32, thread::JoinHandle<_>)| canceller.join().expect("thread");
        cancellers.into_iter().map(join).collect::<Vec<_>>()
    });
    assert_eq!(answers, [(Cancelled::Prevented, 2); 2]);
    dropper.join().expect("thread");
}

#[test]
fn thread_that_has_dropped_a_last_watcher_waits_in_its_next_cancel() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    let (slow, began, let_go) = slow_drop();
    let callback = move |_| slow();
    let handle = watcher.watch(child.process(), callback).expect("watch");
    child.exit(0);
    began.recv_timeout(time_limit()).expect("it runs");
    let (say, who) = channel();
    let canceller = thread::spawn(move || {
        let last = Watcher::new().expect("watcher");
        let live = Held::new();
        let _handle = Told::by(&last, live.process());
        drop(last);
        say.send(own_tid()).expect("the test listens");
        handle.cancel()
    });
    let tid = who.recv_timeout(time_limit()).expect("a thread");
    until("the canceller waits", || {
        (sleeps(tid) || canceller.is_finished()).then_some(())
    });
    let_go.send(()).expect("the callback waits");
    assert_eq!(
        canceller.join().expect("thread"),
        Cancelled::AlreadyRan,
        "and not told that it runs"
    );
}

/// The thread stays for a reaping that it owes, and a copy in a forked child may keep descriptors
/// open: nothing that nobody waits for is left registered.
#[test]
fn end_of_the_last_watcher_takes_back_what_it_had_registered() {
    let watcher = Watcher::new().expect("watcher");
    let (watched, owed) = (Held::new(), Held::new());
    let (never, _) = Told::by(&watcher, watched.process());
    let (charged, callback) = Told::pair();
    watcher
        .watch_and_reap(owed.process().clone(), callback)
        .expect("own child");
    assert!(proc_fs::watched_by_epoll(watched.process()));
    drop(watcher);
    never.was_dropped();
    assert!(!proc_fs::watched_by_epoll(watched.process()));
    assert!(proc_fs::watched_by_epoll(owed.process()));
    owed.exit(4);
    assert_eq!(charged.code(), Some(4));
}

/// No handler of the program runs on the dispatch thread.
#[test]
fn callback_runs_with_every_signal_blocked() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    let (say, said) = channel();
    let callback = move |_| {
        let path = format!("/proc/self/task/{}/status", own_tid());
        let _ = say.send(std::fs::read_to_string(path).expect("/proc"));
    };
    watcher.watch(child.process(), callback).expect("watch");
    child.exit(0);
    let status = said.recv_timeout(time_limit()).expect("runs");
    let blocked = status
        .lines()
        .find_map(|line| line.strip_prefix("SigBlk:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .expect("a mask");
    for signal in 1..=64 {
        // Two cannot be blocked, two are the C library's own.
        if ![libc::SIGKILL, libc::SIGSTOP, 32, 33].contains(&signal) {
            assert!(blocked & 1 << (signal - 1) != 0, "signal {signal}");
        }
    }
}

/// What a waker is when its clone, or its drop, is to do something: a shared function.
type Call = Arc<dyn Fn() + Send + Sync>;

/// A waker that calls a function when it is cloned.
fn calls_when_cloned(call: Call) -> Waker {
    fn raw(call: &Arc<Call>) -> RawWaker {
        RawWaker::new(Arc::into_raw(Arc::clone(call)).cast(), &TABLE)
    }
    static TABLE: RawWakerVTable = RawWakerVTable::new(
        |data| {
            // SAFETY: from Arc::into_raw in `raw`, and the waker that is cloned holds one count of
            // it.
            let call = unsafe { std::mem::ManuallyDrop::new(Arc::from_raw(data.cast::<Call>())) };
            call();
            raw(&call)
        },
        // SAFETY: as above; the count of the waker that is used up is given back.
        |data| drop(unsafe { Arc::from_raw(data.cast::<Call>()) }),
        |_| {},
        // SAFETY: as above.
        |data| drop(unsafe { Arc::from_raw(data.cast::<Call>()) }),
    );
    let raw = raw(&Arc::new(call));
    // SAFETY: the table keeps count of the Arc and calls what may be called from any thread.
    unsafe { Waker::from_raw(raw) }
}

/// Calls a function when its last clone is dropped; wakes nobody.
struct CallsWhenDropped(Call);

impl Wake for CallsWhenDropped {
    fn wake(self: Arc<Self>) {}
}

impl Drop for CallsWhenDropped {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A function that lets a child end, and waits until a callback of the same watcher has been told.
fn ends_and_waits(watcher: &Watcher, child: Held) -> Call {
    // The callback is behind the future's own, on the same thread.
    let (told, _) = Told::by(watcher, child.process());
    let once = Mutex::new(Some((child, told)));
    Arc::new(move || {
        let taken = once.lock().expect("no panic").take();
        if let Some((child, told)) = taken {
            child.exit(5);
            assert_eq!(told.code(), looked_at(5));
        }
    })
}

#[test]
fn waker_may_wait_for_the_watchers_thread_while_it_is_cloned() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    let mut future = watcher.exited(child.process());
    let waker = calls_when_cloned(ends_and_waits(&watcher, child));
    let exit = ends(move || {
        let mut context = Context::from_waker(&waker);
        let first = Pin::new(&mut future).poll(&mut context);
        match first {
            Poll::Ready(exit) => exit,
            Poll::Pending => panic!("told before it was cloned to its end"),
        }
    });
    let code = exit.expect("an exit").status.and_then(|s| s.code());
    assert_eq!(code, looked_at(5));
}

#[test]
fn waker_may_wait_for_the_watchers_thread_while_it_is_dropped() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    let mut future = watcher.exited(child.process());
    let calls = Arc::new(CallsWhenDropped(ends_and_waits(&watcher, child)));
    let old = Waker::from(calls);
    assert!(
        Pin::new(&mut future)
            .poll(&mut Context::from_waker(&old))
            .is_pending()
    );
    drop(old);
    // The future has the last clone, and another waker takes its place.
    let exit = ends(move || {
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut future).poll(&mut context).is_pending());
        Pin::new(&mut future).poll(&mut context)
    });
    let Poll::Ready(Ok(exit)) = exit else {
        panic!("not ready");
    };
    assert_eq!(exit.status.and_then(|s| s.code()), looked_at(5));
}
