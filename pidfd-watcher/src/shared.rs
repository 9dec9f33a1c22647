//! What the watchers, the handles and the dispatch thread of one watcher share.

use std::sync::Weak;

use rustix::event::Timespec;
use rustix::event::epoll::Event;
use rustix::io::Errno;

use crate::contain::Containment;
use crate::poller::{News, Poller};
use crate::registry::{Close, Registry};
use crate::sys::ForkGeneration;
use crate::timers::Timers;
use crate::{Process, sys, waiting};

/// It does not contain the descriptors. They belong to the thread and are closed when it ends: a
/// watcher or a handle that is kept does not keep them open.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) generation: ForkGeneration,
    pub(crate) registry: Registry<Process>,
    pub(crate) timers: Timers,
    pub(crate) poller: Weak<Poller>,
    pub(crate) containment: Containment,
}

impl Shared {
    /// Reports everything that there is to report. Waits for it without a limit, unless `timeout`
    /// is given. Returns whether there was an event.
    pub(crate) fn turn(
        &self,
        poller: &Poller,
        events: &mut Vec<Event>,
        timeout: Option<&Timespec>,
    ) -> Result<bool, Errno> {
        let mut told = false;
        for news in poller.wait(events, timeout)? {
            told = true;
            match news {
                News::Entry(entry) => self.registry.dispatch(entry, poller, &self.containment),
                News::Time => self.timers.fire(sys::monotonic()?, poller),
            }
        }
        Ok(told)
    }

    /// Drops the waiting callbacks, and makes the thread check whether it is still needed. The
    /// error is that of waking it.
    pub(crate) fn close(&self, how: Close) -> Result<(), Errno> {
        // The poller is gone if the thread has ended. Then there is nothing to tell the kernel, and
        // nobody to wake.
        let poller = self.poller.upgrade();
        // A callback that is dropped may cancel one that is about to be dropped, on this same
        // thread.
        waiting::without_waiting(|| {
            self.registry
                .close(how, poller.as_deref(), &self.containment);
            // A callback that was dropped may have forked.
            if self.generation.is_current() {
                self.timers.close();
            }
        });
        match poller {
            // A callback that was dropped may have forked. A copy wakes nobody.
            Some(poller) if self.generation.is_current() => poller.wake(),
            _ => Ok(()),
        }
    }
}
