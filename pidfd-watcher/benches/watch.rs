//! What being told costs on top of the system calls below it.
//!
//! - `open and watch`: `Process::open` and `Watcher::watch`, against `pidfd_open` and
//!   `epoll_ctl(EPOLL_CTL_ADD)`. Closing is left out on both sides.
//! - `kill to callback`: from SIGKILL of a child until its callback runs, against a thread in a
//!   bare `epoll_wait` loop. The child is made and reaped off the clock.
//! - `memory`: bytes of the heap that a watch takes, its `Process` included, as an allocator counts
//!   them; the box of the callback, which is the caller's, is not there for a callback that
//!   captures nothing.
// A bench has no caller to tell.
#![allow(missing_docs, unsafe_code, clippy::expect_used, clippy::unwrap_used)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group};
use pidfd_watcher::{Pid, Process, Signal, WatchHandle, Watcher};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::process::{PidfdFlags, getpid, pidfd_open, pidfd_send_signal};

/// Counts what is allocated and not freed yet.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: our caller's promises are the ones that are asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const EDGE: EventFlags = EventFlags::IN.union(EventFlags::ET);

/// How often something is done between two clearings, which are off the clock.
const BATCH: u64 = 1_000;

/// Does `once` so many times, and gives the time without that of dropping what it made.
fn batch<T>(times: u64, mut once: impl FnMut() -> T) -> Duration {
    let mut made = Vec::with_capacity(usize::try_from(times).expect("64 bits"));
    let start = Instant::now();
    for _ in 0..times {
        made.push(once());
    }
    start.elapsed()
}

/// Taken out of the watcher, and closed, when it is dropped.
struct Watched(Option<WatchHandle>);

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.0.take().map(WatchHandle::cancel);
    }
}

fn open_and_watch(c: &mut Criterion) {
    let own = getpid();
    let watcher = Watcher::new().expect("watcher");
    let epoll = epoll::create(CreateFlags::CLOEXEC).expect("epoll");
    let mut token = 0;
    let mut open_bare = || -> OwnedFd {
        let pidfd = pidfd_open(own, PidfdFlags::empty()).expect("own process");
        token += 1;
        epoll::add(&epoll, &pidfd, EventData::new_u64(token), EDGE).expect("add");
        pidfd
    };
    let open_watched = || {
        let process = Process::open(own).expect("own process");
        Watched(Some(watcher.watch(&process, |_| ()).expect("watch")))
    };
    // In turns, whichever of them is counted: whatever the machine does meanwhile, it does to both.
    let mut turns = |iterations: u64| {
        let (mut bare, mut ours) = (Duration::ZERO, Duration::ZERO);
        let mut left = iterations;
        while left > 0 {
            let times = left.min(BATCH);
            bare += batch(times, &mut open_bare);
            ours += batch(times, open_watched);
            left -= times;
        }
        (bare, ours)
    };
    let mut group = c.benchmark_group("open and watch");
    group.bench_function("bare pidfd_open and epoll_ctl", |b| {
        b.iter_custom(|iterations| turns(iterations).0);
    });
    group.bench_function("Process::open and Watcher::watch", |b| {
        b.iter_custom(|iterations| turns(iterations).1);
    });
    group.finish();
}

fn sleeper() -> Child {
    Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("spawn cat")
}

/// Both sides in turns within each iteration, so that whatever the machine does it does to both;
/// the one that is asked for is counted.
fn kill_to_callback(c: &mut Criterion) {
    let watcher = Watcher::new().expect("watcher");
    let bare = Bare::start();
    let ours = || {
        let mut child = sleeper();
        let process = Process::from_child(&mut child).expect("own child");
        let (tell, told) = mpsc::channel();
        watcher
            .watch(&process, move |_| {
                let _ = tell.send(Instant::now());
            })
            .expect("watch");
        settle();
        let start = Instant::now();
        process.send_signal(Signal::KILL).expect("own child");
        let took = told.recv().expect("told") - start;
        child.wait().expect("reap");
        took
    };
    let theirs = || {
        let mut child = sleeper();
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).expect("open");
        epoll::add(&*bare.epoll, &pidfd, EventData::new_u64(0), EDGE).expect("add");
        settle();
        let start = Instant::now();
        pidfd_send_signal(&pidfd, Signal::KILL).expect("own child");
        let took = bare.told.recv().expect("told") - start;
        epoll::delete(&*bare.epoll, &pidfd).expect("delete");
        child.wait().expect("reap");
        took
    };
    let mut group = c.benchmark_group("kill to callback");
    group.sample_size(60);
    group.bench_function("bare epoll loop", |b| {
        b.iter_custom(|iterations| {
            (0..iterations)
                .map(|_| (theirs(), ours()).0)
                .sum::<Duration>()
        });
    });
    group.bench_function("Watcher::watch", |b| {
        b.iter_custom(|iterations| {
            (0..iterations)
                .map(|_| (theirs(), ours()).1)
                .sum::<Duration>()
        });
    });
    group.finish();
}

/// The watching threads and the child sleep, as they do when something happens after hours.
fn settle() {
    std::thread::sleep(Duration::from_millis(1));
}

/// A thread that says when `epoll_wait` has returned.
struct Bare {
    epoll: Arc<OwnedFd>,
    told: mpsc::Receiver<Instant>,
}

impl Bare {
    fn start() -> Bare {
        let epoll = Arc::new(epoll::create(CreateFlags::CLOEXEC).expect("epoll"));
        let (tell, told) = mpsc::channel();
        let theirs = Arc::clone(&epoll);
        std::thread::spawn(move || {
            let mut events = Vec::with_capacity(256);
            loop {
                events.clear();
                epoll::wait(
                    theirs.as_fd(),
                    rustix::buffer::spare_capacity(&mut events),
                    None,
                )
                .expect("wait");
                for _ in &events {
                    if tell.send(Instant::now()).is_err() {
                        return;
                    }
                }
            }
        });
        Bare { epoll, told }
    }
}

/// Not a time, so not criterion's: one line. Watches of this very process, as many as descriptors
/// allow.
fn memory() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let count = limit.map_or(20_000, |limit| limit.saturating_sub(100).min(20_000));
    let watcher = Watcher::new().expect("watcher");
    let count = u32::try_from(count).expect("at most 20,000");
    let mut handles = Vec::with_capacity(count as usize);
    let before = LIVE.load(Ordering::Relaxed);
    for _ in 0..count {
        let process = Process::open(getpid()).expect("own process");
        handles.push(watcher.watch(&process, |_| ()).expect("watch"));
    }
    let bytes = u32::try_from(LIVE.load(Ordering::Relaxed) - before).expect("some megabytes");
    println!(
        "memory: {:.1} bytes of heap a watch, its Process included, with {count} watches",
        f64::from(bytes) / f64::from(count)
    );
}

criterion_group!(benches, open_and_watch, kill_to_callback);

fn main() {
    memory();
    benches();
    Criterion::default().configure_from_args().final_summary();
}
