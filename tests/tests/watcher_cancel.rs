//! When `cancel` returns, the callback has run to its end or never will.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use pidfd_watcher::{Cancelled, Process, WatchHandle, Watcher};
use workspace_tests::namespace::looked_at;
use workspace_tests::{Held, Told, time_limit, until};

fn dead() -> Held {
    let child = Held::new();
    child.kill();
    child.process().wait().expect("own child");
    child
}

/// A callback that runs from `began` on until it is let go.
struct Running {
    began: Receiver<()>,
    let_go: Sender<()>,
    ended: Arc<AtomicBool>,
    handle: WatchHandle,
}

/// Captured by a callback: notes that it is gone, which must be after the callback has ended.
struct Captured(Arc<AtomicBool>, Arc<AtomicBool>);

impl Drop for Captured {
    fn drop(&mut self) {
        self.1
            .store(self.0.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

impl Running {
    fn new(watcher: &Watcher, process: &Process) -> Running {
        let (begin, began) = channel();
        let (let_go, may_end) = channel::<()>();
        let (body, ended) = (Arc::default(), Arc::default());
        let captured = Captured(Arc::clone(&body), Arc::clone(&ended));
        let callback = move |_| {
            begin.send(()).expect("the test listens");
            may_end.recv_timeout(time_limit()).expect("let go");
            captured.0.store(true, Ordering::SeqCst);
        };
        let handle = watcher.watch(process, callback).expect("watch");
        Running {
            began,
            let_go,
            ended,
            handle,
        }
    }
}

/// Whether a thread of this process sleeps in futex(2).
fn waits(tid: i32) -> bool {
    let call =
        std::fs::read_to_string(format!("/proc/self/task/{tid}/syscall")).unwrap_or_default();
    call.split(' ').next() == Some(&libc::SYS_futex.to_string())
}

#[test]
fn cancel_waits_for_a_callback_that_runs_and_for_the_drop_of_its_captures() {
    let watcher = Watcher::new().expect("watcher");
    let child = dead();
    let Running {
        began,
        let_go,
        ended,
        handle,
    } = Running::new(&watcher, child.process());
    began.recv_timeout(time_limit()).expect("runs");
    let (say, who) = channel();
    let canceller = thread::spawn(move || {
        say.send(rustix::thread::gettid().as_raw_nonzero().get())
            .expect("listens");
        (handle.cancel(), ended.load(Ordering::SeqCst))
    });
    let tid = who.recv_timeout(time_limit()).expect("a thread");
    until("the canceller waits", || waits(tid).then_some(()));
    let_go.send(()).expect("runs");
    assert_eq!(
        canceller.join().expect("thread"),
        (Cancelled::AlreadyRan, true)
    );
}

#[test]
fn cancel_of_a_callback_that_has_run_says_so() {
    let watcher = Watcher::new().expect("watcher");
    let child = dead();
    let (told, handle) = Told::by(&watcher, child.process());
    told.exit();
    // The channel is gone with the captures: it is over but for the note of it.
    assert_eq!(handle.cancel(), Cancelled::AlreadyRan);
}

type Kept = Arc<Mutex<Option<WatchHandle>>>;

fn take(kept: &Kept) -> WatchHandle {
    kept.lock().expect("no panic").take().expect("a handle")
}

#[test]
fn callback_that_cancels_itself_is_told_that_it_runs() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    let (own, (say, said)) = (Kept::default(), channel());
    let kept = Arc::clone(&own);
    let callback = move |_| say.send(take(&kept).cancel()).expect("listens");
    let handle = watcher.watch(child.process(), callback).expect("watch");
    *own.lock().expect("no panic") = Some(handle);
    child.exit(0);
    assert_eq!(said.recv_timeout(time_limit()), Ok(Cancelled::Running));
    // And nothing of it is left behind.
    assert_eq!(Told::by(&watcher, child.process()).0.code(), looked_at(0));
}

#[test]
fn callback_prevents_the_one_behind_it_and_learns_that_the_one_before_it_ran() {
    let watcher = Watcher::new().expect("watcher");
    let (child, bystander) = (Held::new(), Held::new());
    let (before, before_handle) = Told::by(&watcher, child.process());
    let (later, (say, said)) = (Kept::default(), channel());
    let (kept, (elsewhere, elsewhere_handle)) =
        (Arc::clone(&later), Told::by(&watcher, bystander.process()));
    let callback = move |_| {
        let answers = [
            before_handle.cancel(),
            take(&kept).cancel(),
            elsewhere_handle.cancel(),
        ];
        say.send(answers).expect("listens");
    };
    watcher.watch(child.process(), callback).expect("watch");
    let (behind, handle) = Told::by(&watcher, child.process());
    *later.lock().expect("no panic") = Some(handle);
    child.exit(1);
    let answers = said.recv_timeout(time_limit()).expect("runs");
    assert_eq!(
        answers,
        [
            Cancelled::AlreadyRan,
            Cancelled::Prevented,
            Cancelled::Prevented
        ]
    );
    assert_eq!(before.code(), looked_at(1));
    behind.was_dropped();
    elsewhere.was_dropped();
}

#[test]
fn callbacks_of_two_watchers_that_cancel_each_other_are_both_told_running() {
    let watchers = [(); 2].map(|()| Watcher::new().expect("watcher"));
    let children = [(); 2].map(|()| Held::new());
    let kept = [Kept::default(), Kept::default()];
    let (say, said) = channel();
    let (both_run, both_asked) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    for n in [0, 1] {
        let (other, say) = (Arc::clone(&kept[1 - n]), say.clone());
        let (both_run, both_asked) = (Arc::clone(&both_run), Arc::clone(&both_asked));
        let callback = move |_| {
            both_run.wait();
            let cancelled = take(&other).cancel();
            both_asked.wait();
            say.send(cancelled).expect("listens");
        };
        let handle = watchers[n]
            .watch(children[n].process(), callback)
            .expect("watch");
        *kept[n].lock().expect("no panic") = Some(handle);
    }
    children.iter().for_each(Held::kill);
    for _ in 0..2 {
        assert_eq!(said.recv_timeout(time_limit()), Ok(Cancelled::Running));
    }
}

#[test]
fn many_threads_that_cancel_what_runs_all_wait_for_their_own() {
    let watcher = Watcher::new().expect("watcher");
    let child = dead();
    let Running {
        began,
        let_go,
        ended,
        handle,
    } = Running::new(&watcher, child.process());
    began.recv_timeout(time_limit()).expect("runs");
    let late = Told::by(&watcher, child.process());
    let (say, who) = channel();
    let canceller = thread::spawn(move || {
        say.send(rustix::thread::gettid().as_raw_nonzero().get())
            .expect("listens");
        handle.cancel()
    });
    let tid = who.recv_timeout(time_limit()).expect("a thread");
    until("the canceller waits", || waits(tid).then_some(()));
    // One that waits behind what runs is taken out without waiting.
    assert_eq!(late.1.cancel(), Cancelled::Prevented);
    late.0.was_dropped();
    assert!(!ended.load(Ordering::SeqCst));
    let_go.send(()).expect("runs");
    assert_eq!(canceller.join().expect("thread"), Cancelled::AlreadyRan);
}

#[test]
fn handle_that_outlives_the_watcher_says_what_became_of_its_callback() {
    let watcher = Watcher::new().expect("watcher");
    let (child, gone) = (Held::new(), dead());
    let (ran, ran_handle) = Told::by(&watcher, gone.process());
    ran.exit();
    let (waits, waits_handle) = Told::by(&watcher, child.process());
    drop(watcher);
    waits.was_dropped();
    assert_eq!(waits_handle.cancel(), Cancelled::Prevented);
    assert_eq!(ran_handle.cancel(), Cancelled::AlreadyRan);
}

/// Cancels a watch in its drop.
struct CancelsWhenDropped(Kept, Sender<Cancelled>);

impl Drop for CancelsWhenDropped {
    fn drop(&mut self) {
        let Some(handle) = self.0.lock().expect("no panic").take() else {
            return;
        };
        let _ = self.1.send(handle.cancel());
    }
}

/// The thread that drops the last watcher must not wait for what it drops itself.
#[test]
fn captures_that_cancel_callbacks_may_be_dropped_with_the_last_watcher() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    let (say, said) = channel();
    let kept = [Kept::default(), Kept::default(), Kept::default()];
    // The first cancels the second, the second the first, the third itself.
    for (n, cancels) in [(0, 1), (1, 0), (2, 2)] {
        let capture = CancelsWhenDropped(Arc::clone(&kept[cancels]), say.clone());
        let handle = watcher
            .watch(child.process(), move |_| drop(capture))
            .expect("watch");
        *kept[n].lock().expect("no panic") = Some(handle);
    }
    drop(say);
    let dropper = thread::spawn(move || drop(watcher));
    // All captures are dropped, none of them waits for ever; what they are told is for each to say.
    let answers: Vec<_> = (0..3)
        .map(|_| said.recv_timeout(time_limit()).expect("no deadlock"))
        .collect();
    assert!(!answers.contains(&Cancelled::AlreadyRan), "{answers:?}");
    dropper.join().expect("thread");
}
