//! Cancels a callback.

use std::fmt;
use std::sync::Arc;

use crate::Cancelled;
use crate::registry::Token;
use crate::shared::Shared;
use crate::sys::ForkGeneration;
use crate::waiting;

/// One callback that waits for one process. Dropping the handle does not cancel the callback.
pub struct WatchHandle {
    shared: Arc<Shared>,
    watch: Token,
}

impl WatchHandle {
    pub(crate) fn new(shared: Arc<Shared>, watch: Token) -> WatchHandle {
        WatchHandle { shared, watch }
    }

    /// Cancels the callback. When this returns, the callback has run to its end or never will, and
    /// its captures are dropped.
    ///
    /// To guarantee that, it waits for a callback that is running. **Do not hold what that callback
    /// needs**: a lock that it takes, a thread that it joins. On a dispatch thread, that is, inside
    /// any callback of any watcher, it never waits, and returns [`Cancelled::Running`]. The same is
    /// true inside the drop of a last watcher, if a callback's captures call it there.
    ///
    /// For [`watch_and_reap`](crate::Watcher::watch_and_reap) this cancels only the callback: the
    /// child is still reaped. In a copy made by fork, where no callback ever runs, the result is
    /// [`Cancelled::Prevented`], and nothing is dropped.
    pub fn cancel(self) -> Cancelled {
        self.take_back(!waiting::never_waits())
    }

    /// The same without waiting.
    pub(crate) fn cancel_without_waiting(&self) -> Cancelled {
        self.take_back(false)
    }

    pub(crate) fn generation(&self) -> ForkGeneration {
        self.shared.generation
    }

    fn take_back(&self, may_wait: bool) -> Cancelled {
        let Shared {
            generation,
            registry,
            poller,
            containment,
            ..
        } = &*self.shared;
        if !generation.is_current() {
            return Cancelled::Prevented;
        }
        // The poller is gone if the thread has ended. Then nothing waits any more, and there is
        // nothing to tell the kernel.
        let poller = poller.upgrade();
        registry.cancel(self.watch, may_wait, poller.as_deref(), containment)
    }
}

impl fmt::Debug for WatchHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchHandle")
            .field("watch", &self.watch)
            .finish_non_exhaustive()
    }
}
