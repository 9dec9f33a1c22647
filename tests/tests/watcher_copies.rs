//! Somebody else's code that the watcher calls has forked, and goes on in the copy.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Waker};

use pidfd_watcher::{Error, Watcher};
use workspace_tests::fork::Fork;
use workspace_tests::{Held, Told, alone, time_limit, until};

/// How many copies this process and all of its copies may make. What a test is about is a copy that
/// runs code of its parent's: without a limit such a copy could fork too, and its copies as well.
static FORKS_LEFT: AtomicI32 = AtomicI32::new(0);

/// The test's own process: a copy has no forks left.
fn may_fork(times: i32) {
    FORKS_LEFT.store(times, Ordering::Relaxed);
}

/// A copy of this process that goes on behind this call, as the parent does. Its number in the
/// parent, 0 in the copy. The copy that comes here itself ends with 97.
fn fork() -> i32 {
    let left = FORKS_LEFT.fetch_sub(1, Ordering::Relaxed);
    if left <= 0 {
        // SAFETY: ends the copy.
        unsafe { libc::_exit(97) };
    }
    // SAFETY: what goes on in the copy is this library, which must be inert there, and
    // async-signal-safe calls.
    let pid = unsafe { libc::fork() };
    assert_ne!(pid, -1, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        FORKS_LEFT.store(0, Ordering::Relaxed);
        // No copy outlives the thread that made it.
        // SAFETY: prctl(2) of this kind has no memory effect.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    }
    pid
}

/// The exit code of a copy.
fn exit_code(pid: i32) -> i32 {
    until("the copy ends", || {
        let mut status = 0;
        // SAFETY: `status` is a valid place for the answer; the copy is a child of ours and not
        // reaped yet.
        let reaped = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) };
        (reaped == pid).then_some(status)
    })
}

#[test]
fn copy_that_returns_from_a_callback_ends_and_takes_no_event_of_its_parents() {
    alone!({
        may_fork(200);
        let watcher = Watcher::new().expect("watcher");
        let (tell, told) = channel();
        let children: Vec<Held> = (0..200).map(|_| Held::new()).collect();
        for (index, child) in children.iter().enumerate() {
            let tell = tell.clone();
            let callback = move |_| {
                let copy = fork();
                if copy != 0 {
                    tell.send((index, copy)).expect("the test listens");
                }
            };
            watcher.watch(child.process(), callback).expect("watch");
        }
        for child in &children {
            child.kill();
        }
        let mut seen = vec![false; children.len()];
        for _ in &children {
            let (index, copy) = told.recv_timeout(time_limit()).expect("each is told");
            assert!(!std::mem::replace(&mut seen[index], true), "told twice");
            assert_eq!(exit_code(copy), 0);
        }
    });
}

#[test]
fn copy_that_returns_from_a_callback_runs_no_exit_handler() {
    extern "C" fn at_exit() {
        // SAFETY: ends the copy.
        unsafe { libc::_exit(98) }
    }
    alone!({
        may_fork(1);
        let watcher = Watcher::new().expect("watcher");
        let child = Held::new();
        // SAFETY: the function lives as long as the program.
        assert_eq!(unsafe { libc::atexit(at_exit) }, 0);
        let (tell, told) = channel();
        let callback = move |_| {
            let copy = fork();
            if copy != 0 {
                tell.send(copy).expect("the test listens");
            }
        };
        watcher.watch(child.process(), callback).expect("watch");
        child.exit(0);
        assert_eq!(exit_code(told.recv_timeout(time_limit()).expect("told")), 0);
    });
}

/// Forks when it is dropped; notes the copy's number, and counts the drops of each process.
struct ForksWhenDropped {
    copy: Arc<AtomicI32>,
    drops: Arc<AtomicUsize>,
}

impl Drop for ForksWhenDropped {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Ordering::Relaxed);
        if self.copy.load(Ordering::Relaxed) == -1 {
            self.copy.store(fork(), Ordering::Relaxed);
        }
    }
}

#[test]
fn copy_made_by_a_capture_that_is_dropped_goes_on_and_drops_no_more() {
    alone!({
        may_fork(1);
        let watcher = Watcher::new().expect("watcher");
        let (child, charged) = (Held::new(), Held::new());
        let copy = Arc::new(AtomicI32::new(-1));
        let drops = Arc::new(AtomicUsize::new(0));
        for _ in 0..3 {
            let capture = ForksWhenDropped {
                copy: Arc::clone(&copy),
                drops: Arc::clone(&drops),
            };
            watcher
                .watch(child.process(), move |_| drop(capture))
                .expect("watch");
        }
        let (told, callback) = Told::pair();
        watcher
            .watch_and_reap(charged.process().clone(), callback)
            .expect("own child");
        drop(watcher);
        let drops = drops.load(Ordering::Relaxed);
        if copy.load(Ordering::Relaxed) == 0 {
            // SAFETY: ends the copy.
            unsafe { libc::_exit(i32::try_from(drops).expect("a few")) };
        }
        assert_eq!(drops, 3);
        assert_eq!(
            exit_code(copy.load(Ordering::Relaxed)),
            1 << 8,
            "the rest is the parent's to drop"
        );
        charged.exit(3);
        assert_eq!(told.code(), Some(3));
    });
}

/// The copy made by the clone of a waker.
static COPY: AtomicI32 = AtomicI32::new(-1);

const FORKS_WHEN_CLONED: RawWakerVTable = RawWakerVTable::new(
    |_| {
        COPY.store(fork(), Ordering::Relaxed);
        RawWaker::new(std::ptr::null(), Waker::noop().vtable())
    },
    |_| (),
    |_| (),
    |_| (),
);

#[test]
fn future_polled_in_a_copy_that_its_waker_has_made_knows_it_for_a_copy() {
    alone!({
        may_fork(1);
        let watcher = Watcher::new().expect("watcher");
        let child = Held::new();
        let mut future = pin!(watcher.exited(child.process()));
        // SAFETY: the functions keep the contract of a waker that owns nothing.
        let waker = unsafe { Waker::new(std::ptr::null(), &FORKS_WHEN_CLONED) };
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        if COPY.load(Ordering::Relaxed) == 0 {
            let right = matches!(polled, Poll::Ready(Err(Error::ForkedCopy)));
            // SAFETY: ends the copy.
            unsafe { libc::_exit(i32::from(!right)) };
        }
        assert!(polled.is_pending());
        assert_eq!(exit_code(COPY.load(Ordering::Relaxed)), 0);
    });
}

/// The C library gives the stack of a thread that a copy does not have to the next thread of the
/// copy.
#[test]
fn watcher_that_a_copy_drops_detaches_no_thread_of_the_copy() {
    alone!({
        let mut watcher = Some(Watcher::new().expect("watcher"));
        Fork::run(|| {
            let (wait, waits) = channel::<()>();
            let threads: Vec<_> = [waits]
                .into_iter()
                .map(|waits| std::thread::spawn(move || waits.recv()))
                .collect();
            drop(watcher.take());
            drop(wait);
            for thread in threads {
                let _ = thread.join().expect("joined");
            }
        })
        .succeeds();
    });
}
