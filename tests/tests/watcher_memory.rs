//! What a watcher keeps in memory of what is over. The allocator counts.

use std::alloc::Layout;
use std::panic::panic_any;
use std::sync::atomic::{AtomicUsize, Ordering};

use pidfd_watcher::{Builder, Cancelled, Process, WatchHandle, Watcher};
use workspace_tests::heap::{Observed, Observer};
use workspace_tests::namespace::looked_at;
use workspace_tests::{Held, Told, alone};

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

impl Observer for Counting {
    fn allocates(&self, layout: Layout) {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
    }

    fn frees(&self, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
    }
}

#[global_allocator]
static ALLOCATOR: Observed<Counting> = Observed(Counting);

/// Bytes on the heap, when the thread has let go of what it told.
fn held(watcher: &Watcher, dead: &Held) -> usize {
    Told::by(watcher, dead.process()).0.exit();
    HELD.load(Ordering::Relaxed)
}

fn dead() -> Held {
    let child = Held::new();
    child.exit(0);
    child.process().wait().expect("own child");
    child
}

/// 100 kB; panics in its drop, a few times over.
struct Heavy {
    _weight: Box<[u8]>,
    panics: usize,
}

impl Heavy {
    fn new(panics: usize) -> Heavy {
        Heavy {
            _weight: vec![1; 100_000].into(),
            panics,
        }
    }
}

impl Drop for Heavy {
    fn drop(&mut self) {
        if self.panics > 0 {
            panic_any(Heavy::new(self.panics - 1));
        }
    }
}

#[test]
fn payload_of_a_panic_is_dropped() {
    alone!({
        std::panic::set_hook(Box::new(|_| ()));
        let builder = Builder::new().on_panic(|_| panic_any(Heavy::new(1)));
        let watcher = builder.build().expect("watcher");
        let dead = dead();
        let few = held(&watcher, &dead);
        for round in 0..200 {
            watcher
                .watch(dead.process(), move |_| panic_any(Heavy::new(round % 3)))
                .expect("watch");
        }
        let many = held(&watcher, &dead);
        assert!(many < few + 100_000, "{few} bytes, then {many}");
    });
}

#[test]
fn payload_whose_drop_panics_for_ever_is_let_be() {
    struct Forever;
    impl Drop for Forever {
        fn drop(&mut self) {
            panic_any(Forever);
        }
    }
    alone!({
        std::panic::set_hook(Box::new(|_| ()));
        let builder = Builder::new().on_panic(|_| panic_any(Forever));
        let watcher = builder.build().expect("watcher");
        let child = dead();
        watcher
            .watch(child.process(), |_| panic_any(Forever))
            .expect("watch");
        assert_eq!(Told::by(&watcher, child.process()).0.code(), looked_at(0));
    });
}

#[test]
fn memory_of_cancelled_watches_is_given_back() {
    alone!({
        let watcher = Watcher::new().expect("watcher");
        let (live, dead) = (Held::new(), dead());
        let few = held(&watcher, &dead);
        for _ in 0..2 {
            let watch = |_| watcher.watch(live.process(), drop).expect("watch");
            let mut handles: Vec<Option<WatchHandle>> = (0..100_000).map(watch).map(Some).collect();
            let stays = handles[70_000].take();
            for handle in handles.into_iter().flatten() {
                assert_eq!(handle.cancel(), Cancelled::Prevented);
            }
            // One that stays keeps its neighbours' memory, and half a byte for each that came
            // before it.
            let many = held(&watcher, &dead);
            assert!(many < few + 50_000, "{few} bytes, then {many}");
            assert_eq!(stays.expect("taken").cancel(), Cancelled::Prevented);
            let many = held(&watcher, &dead);
            assert!(many < few + 8192, "{few} bytes, then {many}");
        }
    });
}

#[test]
fn memory_of_processes_that_are_watched_no_more_is_given_back() {
    alone!({
        let resource = rustix::process::Resource::Nofile;
        let limit = rustix::process::getrlimit(resource);
        let raised = rustix::process::Rlimit {
            current: limit.maximum,
            ..limit
        };
        rustix::process::setrlimit(resource, raised).expect("setrlimit");
        let most = limit.maximum.map_or(10_000, |most| most.min(10_000));
        let watcher = Watcher::new().expect("watcher");
        let dead = dead();
        let few = held(&watcher, &dead);
        {
            // Each is an entry of its own, since each has a descriptor of its own.
            let processes: Vec<Process> = (100..most)
                .map(|_| Process::open(rustix::process::getpid()).expect("own process"))
                .collect();
            let watch = |process| watcher.watch(process, drop).expect("watch");
            let handles: Vec<WatchHandle> = processes.iter().map(watch).collect();
            for handle in handles {
                assert_eq!(handle.cancel(), Cancelled::Prevented);
            }
        }
        let many = held(&watcher, &dead);
        assert!(many < few + 16_384, "{few} bytes, then {many}");
    });
}

/// Exits that are told, callbacks that are cancelled and futures that are dropped, one after the
/// other: many leave as much behind as a few.
#[test]
fn watcher_keeps_no_memory_of_what_is_over() {
    alone!({
        let watcher = Watcher::new().expect("watcher");
        let (live, dead) = (Held::new(), Held::new());
        dead.exit(0);
        dead.process().wait().expect("own child");
        let round = || {
            Told::by(&watcher, dead.process()).0.exit();
            let handle = watcher.watch(live.process(), drop).expect("watch");
            assert_eq!(handle.cancel(), Cancelled::Prevented);
            drop(watcher.exited(live.process()));
            drop(watcher.exited(dead.process()));
        };
        // The thread still lets go of the last one.
        let settled = || {
            Told::by(&watcher, dead.process()).0.exit();
            HELD.load(Ordering::Relaxed)
        };
        (0..500).for_each(|_| round());
        let few = settled();
        (0..10_000).for_each(|_| round());
        let many = settled();
        // One event more for each would be 120,000 bytes.
        assert!(many < few + 4096, "{few} bytes, then {many}");
    });
}
