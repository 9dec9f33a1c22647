//! The latest value of something that a process has once, published without a lock.
//!
//! This file has the same text in every crate that has it.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// A place for a value, which a later one can replace.
///
/// It has no lock: if one thread forks while another thread holds a lock, the lock stays locked in
/// the forked copy for ever. A value that was published is never freed, because a copy made by fork
/// may still refer to what its parent published.
#[derive(Debug)]
pub(crate) struct Published<T>(AtomicPtr<T>);

impl<T: Send + Sync + 'static> Published<T> {
    pub(crate) const fn empty() -> Published<T> {
        Published(AtomicPtr::new(ptr::null_mut()))
    }

    /// The latest value.
    pub(crate) fn latest(&self) -> Option<&'static T> {
        // Acquire: pairs with the Release in `replace`. All writes that made the value happen
        // before the exchange that publishes it, and so before what is read here through the
        // pointer. Without this pair, a reader could follow the pointer to memory in which the
        // value is not written yet.
        let latest = self.0.load(Ordering::Acquire);
        // SAFETY: the pointer is null, or the box that `replace` has published, which nobody frees
        // or changes.
        unsafe { latest.as_ref() }
    }

    /// Publishes `fresh` if `seen` is still the latest value. If another thread was faster, `fresh`
    /// is dropped. Returns the value that is the latest then.
    pub(crate) fn replace(&self, seen: Option<&'static T>, fresh: T) -> &'static T {
        let seen = seen.map_or(ptr::null_mut(), |seen| ptr::from_ref(seen).cast_mut());
        let fresh = Box::into_raw(Box::new(fresh));
        // Release and Acquire as in `latest`. Nothing published is freed, so an address never comes
        // again: an exchange that succeeds has replaced `seen` itself.
        let exchanged = self
            .0
            .compare_exchange(seen, fresh, Ordering::Release, Ordering::Acquire);
        let latest = match exchanged {
            Ok(_) => fresh,
            Err(faster) => {
                // SAFETY: from `Box::into_raw` above. It was not published, so only this call knows
                // it.
                drop(unsafe { Box::from_raw(fresh) });
                faster
            }
        };
        // SAFETY: a box that was published, by this call or by the faster thread. It is not null,
        // because a value is only ever replaced by another value.
        unsafe { &*latest }
    }
}
