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

/// The descriptors are not part of it. They are the thread's own and close with its end:
/// a watcher or a handle that is kept does not keep them open.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) generation: ForkGeneration,
    pub(crate) registry: Registry<Process>,
    pub(crate) timers: Timers,
    pub(crate) poller: Weak<Poller>,
    pub(crate) containment: Containment,
}

impl Shared {
    /// Tells what there is to tell: waits for it without limit, unless `timeout` is one. Whether
    /// there was an event.
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

    /// Drops the callbacks that wait, and has the thread look whether it is still needed.
    /// The error is that of waking it.
    pub(crate) fn close(&self, how: Close) -> Result<(), Errno> {
        // Gone with the thread: then there is nothing to tell the kernel, and nobody to wake.
        let poller = self.poller.upgrade();
        // What is dropped may cancel what is about to be dropped, by this very thread.
        waiting::without_waiting(|| {
            self.registry
                .close(how, poller.as_deref(), &self.containment);
            // What was dropped may have forked.
            if self.generation.is_current() {
                self.timers.close();
            }
        });
        match poller {
            // What was dropped may have forked: a copy wakes nobody.
            Some(poller) if self.generation.is_current() => poller.wake(),
            _ => Ok(()),
        }
    }
}
