//! An allocator that tells of every block: a trap for who must not allocate, or a count.

use std::alloc::{GlobalAlloc, Layout, System};

/// What is told. It runs in every thread, in the middle of an allocation, and must not allocate.
pub trait Observer: Sync {
    /// Before a block of this layout is allocated.
    fn allocates(&self, layout: Layout);
    /// Before a block of this layout is freed.
    fn frees(&self, layout: Layout);
}

/// The system's allocator, for `#[global_allocator]`.
#[derive(Debug)]
pub struct Observed<O>(pub O);

// SAFETY: the system's allocator does the work.
unsafe impl<O: Observer> GlobalAlloc for Observed<O> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.allocates(layout);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        self.0.frees(layout);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(place, layout) }
    }
}
