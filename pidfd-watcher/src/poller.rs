//! The epoll instance of a watcher, and how its thread is woken.

use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;

use crate::Process;
use crate::registry::{Events, Token};

/// What the eventfd's events carry. No token is zero.
const WAKE: EventData = EventData::new_u64(0);

/// Edge-triggered: the exit, a tracer's letting go and the reap are three edges. Level-triggered, a
/// traced zombie is readable for ever and nothing can be done about it: a loop at full speed.
const EDGES: EventFlags = EventFlags::IN.union(EventFlags::ET);

/// How many events one call of `epoll_wait` takes. What is left stays in the kernel's queue, in
/// order.
const BATCH: usize = 256;

#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
    wake: OwnedFd,
}

impl Poller {
    pub(crate) fn new() -> Result<Poller, Errno> {
        let poller = Poller {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        };
        epoll::add(&poller.epoll, &poller.wake, WAKE, EDGES)?;
        // A filter that refuses to wait is found out here, and not by the thread, which could tell
        // nobody.
        poller.wait_until(&mut Vec::with_capacity(1), Some(&Timespec::default()))?;
        Ok(poller)
    }

    /// Makes the thread look whether it is still needed.
    pub(crate) fn wake(&self) -> Result<(), Errno> {
        // A few times in a watcher's life: the counter is never full (EAGAIN), and such a write
        // does not wait (EINTR).
        rustix::io::write(&self.wake, &1_u64.to_ne_bytes()).map(drop)
    }

    /// Waits for events, without limit; none is no error. `events` is room that is used again.
    pub(crate) fn wait(
        &self,
        events: &mut Vec<Event>,
    ) -> Result<impl Iterator<Item = Token>, Errno> {
        events.clear();
        events.reserve(BATCH);
        self.wait_until(events, None)?;
        Ok(events
            .iter()
            .filter_map(|event| Token::from_bits(event.data.u64())))
    }

    fn wait_until(&self, events: &mut Vec<Event>, timeout: Option<&Timespec>) -> Result<(), Errno> {
        match epoll::wait(&self.epoll, spare_capacity(events), timeout) {
            // EINTR comes even with SA_RESTART, and for a stop and continue without any handler:
            // signal(7).
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

impl Events<Process> for Poller {
    #[allow(clippy::inline_always, reason = "see `Watcher::register`")]
    #[inline(always)]
    fn add(&self, process: &Process, entry: Token) -> Result<(), Errno> {
        epoll::add(
            &self.epoll,
            process,
            EventData::new_u64(entry.to_bits()),
            EDGES,
        )
    }

    fn again(&self, process: &Process, entry: Token) -> Result<(), Errno> {
        // Changing a registration looks at the descriptor afresh: what is ready is an edge again.
        epoll::modify(
            &self.epoll,
            process,
            EventData::new_u64(entry.to_bits()),
            EDGES,
        )
    }

    fn delete(&self, process: &Process) {
        // Before the descriptor is closed: a copy of it in a forked child would keep the
        // registration in life, which nobody could delete any more.
        let _ = epoll::delete(&self.epoll, process);
    }
}
