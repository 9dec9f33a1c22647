//! What a slot is made of.

use std::sync::atomic::{AtomicU32, Ordering};

/// A word that threads and processes change at the same time: std's, or in the tests that try every
/// order, loom's.
pub(crate) trait Atomic {
    fn load(&self, order: Ordering) -> u32;

    fn store(&self, value: u32, order: Ordering);

    /// What stood there: `Ok` if that was `current`, and is `new` now.
    fn compare_exchange(
        &self,
        current: u32,
        new: u32,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u32, u32>;
}

impl Atomic for AtomicU32 {
    #[inline]
    fn load(&self, order: Ordering) -> u32 {
        self.load(order)
    }

    #[inline]
    fn store(&self, value: u32, order: Ordering) {
        self.store(value, order);
    }

    #[inline]
    fn compare_exchange(
        &self,
        current: u32,
        new: u32,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u32, u32> {
        self.compare_exchange(current, new, success, failure)
    }
}
