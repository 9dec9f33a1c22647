//! What a watcher keeps in memory of what is over. The allocator counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use pidfd_watcher::{Cancelled, Watcher};
use workspace_tests::{Held, Told, alone};

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work; a count is added.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: what the caller promises is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Exits that are told, callbacks that are cancelled and futures that are dropped, one after the other: many leave as
/// much behind as a few.
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
