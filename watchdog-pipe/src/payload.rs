//! What a panic was caught with.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How many payloads [`discard`] drops at most, when the drop of each one panics with another.
const DEPTH: usize = 4;

/// Drops the payload of a panic. That drop may panic again, with another payload, which is then
/// dropped too. After [`DEPTH`] of them the next one is leaked.
pub(crate) fn discard(payload: Box<dyn Any + Send>) {
    let mut last = payload;
    for _ in 0..DEPTH {
        match catch_unwind(AssertUnwindSafe(|| drop(last))) {
            Ok(()) => return,
            Err(next) => last = next,
        }
    }
    std::mem::forget(last);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Counted(Arc<AtomicUsize>, usize);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
            if self.1 > 0 {
                std::panic::panic_any(Counted(Arc::clone(&self.0), self.1 - 1));
            }
        }
    }

    fn dropped(panics: usize) -> usize {
        let drops = Arc::new(AtomicUsize::new(0));
        discard(Box::new(Counted(Arc::clone(&drops), panics)));
        drops.load(Ordering::Relaxed)
    }

    #[test]
    fn payload_is_dropped_and_so_is_one_that_its_drop_panics_with() {
        assert_eq!([dropped(0), dropped(1), dropped(2)], [1, 2, 3]);
    }

    #[test]
    fn payloads_without_end_are_given_up() {
        assert_eq!(dropped(usize::MAX), DEPTH);
    }
}
