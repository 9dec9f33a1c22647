//! Who must not wait for a callback.

use std::cell::Cell;

thread_local! {
    static NEVER_WAITS: Cell<bool> = const { Cell::new(false) };
}

/// Whether the caller must not wait for a callback: it is the dispatch thread of some watcher, two
/// of which could otherwise wait for each other, or it is [dropping callbacks](without_waiting),
/// and could wait for itself.
pub(crate) fn never_waits() -> bool {
    NEVER_WAITS.get()
}

/// Calls `drops`, in which no cancel waits. It does not panic.
pub(crate) fn without_waiting(drops: impl FnOnce()) {
    let before = NEVER_WAITS.replace(true);
    drops();
    NEVER_WAITS.set(before);
}

/// The caller is a dispatch thread.
pub(crate) fn never_from_here_on() {
    NEVER_WAITS.set(true);
}
