//! Which threads must not wait for a callback.

use std::cell::Cell;

thread_local! {
    static NEVER_WAITS: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread must not wait for a callback. That is true in two cases. It is the
/// dispatch thread of some watcher: two of them could wait for each other. Or it is [dropping
/// callbacks](without_waiting), and could wait for itself.
pub(crate) fn never_waits() -> bool {
    NEVER_WAITS.get()
}

/// Calls `drops`. A cancel inside it does not wait. `drops` must not panic.
pub(crate) fn without_waiting(drops: impl FnOnce()) {
    let before = NEVER_WAITS.replace(true);
    drops();
    NEVER_WAITS.set(before);
}

/// Marks the calling thread as a dispatch thread.
pub(crate) fn never_from_here_on() {
    NEVER_WAITS.set(true);
}
