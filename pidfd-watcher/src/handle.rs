//! Taking a callback back.

use std::fmt;
use std::sync::Arc;

use crate::Cancelled;
use crate::registry::Token;
use crate::shared::Shared;
use crate::sys::ForkGeneration;
use crate::waiting;

/// One callback that waits for one process. Dropping the handle leaves the callback on.
pub struct WatchHandle {
    shared: Arc<Shared>,
    watch: Token,
}

impl WatchHandle {
    pub(crate) fn new(shared: Arc<Shared>, watch: Token) -> WatchHandle {
        WatchHandle { shared, watch }
    }

    /// Takes the callback back. When this returns, it has run to its end or never will, and what it
    /// captured is dropped.
    ///
    /// For that it waits for a callback that runs at this moment. **Do not hold what that callback
    /// needs**: a lock that it takes, a thread that it joins. On a dispatch thread, that is inside
    /// any callback of any watcher, it never waits and says [`Cancelled::Running`]; nor does it
    /// inside the drop of a last watcher, called by what a callback had captured.
    ///
    /// Of [`watch_and_reap`](crate::Watcher::watch_and_reap) only the callback is taken back: the
    /// child is reaped all the same. In a copy made by fork, where no callback ever runs, the
    /// answer is [`Cancelled::Prevented`]; nothing is dropped there.
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
        // Gone with the thread: then nothing waits any more, and there is nothing to tell the
        // kernel.
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
