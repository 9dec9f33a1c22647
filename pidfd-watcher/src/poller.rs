//! The epoll instance of a watcher, and how the watcher's thread is woken.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use crate::Process;
use crate::registry::{Events, Token};

/// The data of the eventfd's events. No token is zero.
const WAKE: EventData = EventData::new_u64(0);

/// The data of the timer's events. No token is this small.
const TIMER: EventData = EventData::new_u64(1);

/// Edge-triggered: the exit, a tracer that lets go, and the reap are three edges. If it were
/// level-triggered, a traced zombie would be readable for ever, and the loop would spin.
const EDGES: EventFlags = EventFlags::IN.union(EventFlags::ET);

/// How many events one call of `epoll_wait` takes. The others stay in the kernel's queue, in order.
const BATCH: usize = 256;

#[derive(Debug)]
pub(crate) struct Poller {
    epoll: OwnedFd,
    wake: OwnedFd,
    /// Created when the first time is set.
    timer: Mutex<Option<OwnedFd>>,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    Entry(Token),
    /// The time that was set has come.
    Time,
}

impl Poller {
    pub(crate) fn new() -> Result<Poller, Errno> {
        let poller = Poller {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            timer: Mutex::new(None),
        };
        epoll::add(&poller.epoll, &poller.wake, WAKE, EDGES)?;
        // If a filter refuses this wait, it is noticed here, and not by the thread, which could
        // tell nobody.
        poller.wait_until(&mut Vec::with_capacity(1), Some(&Timespec::default()))?;
        Ok(poller)
    }

    /// Makes the thread check whether it is still needed.
    pub(crate) fn wake(&self) -> Result<(), Errno> {
        // This happens only a few times in a watcher's life. So the counter is never full (EAGAIN),
        // and the write does not wait (EINTR).
        rustix::io::write(&self.wake, &1_u64.to_ne_bytes()).map(drop)
    }

    /// Makes an event come when the monotonic clock shows `at`, and none at the time that was set
    /// before. A time that the kernel cannot represent never comes.
    pub(crate) fn set_timer(&self, at: Duration) -> Result<(), Errno> {
        // Not zero, which would disarm the timer.
        let Ok(at) = Timespec::try_from(at.max(Duration::from_nanos(1))) else {
            return Ok(());
        };
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: at,
        };
        let mut timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner);
        let timer = if let Some(timer) = &*timer {
            timer
        } else {
            let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
            let made = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            epoll::add(&self.epoll, &made, TIMER, EDGES)?;
            timer.insert(made)
        };
        timerfd_settime(timer, TimerfdTimerFlags::ABSTIME, &once).map(drop)
    }

    /// Waits for events. If `timeout` is `None` there is no limit. It is no error if none come.
    /// `events` is reused memory.
    pub(crate) fn wait(
        &self,
        events: &mut Vec<Event>,
        timeout: Option<&Timespec>,
    ) -> Result<impl Iterator<Item = News>, Errno> {
        events.clear();
        events.reserve(BATCH);
        self.wait_until(events, timeout)?;
        Ok(events.iter().filter_map(|event| match event.data.u64() {
            time if time == TIMER.u64() => Some(News::Time),
            bits => Token::from_bits(bits).map(News::Entry),
        }))
    }

    fn wait_until(&self, events: &mut Vec<Event>, timeout: Option<&Timespec>) -> Result<(), Errno> {
        match epoll::wait(&self.epoll, spare_capacity(events), timeout) {
            // EINTR comes even with SA_RESTART, and also for a stop and continue without a handler:
            // signal(7).
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

/// Readable when there are events.
impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl Events<Process> for Poller {
    #[allow(clippy::inline_always, reason = "see `Watcher::register`")]
    #[inline(always)]
    fn add(&self, process: &Process, entry: Token) -> Result<(), Errno> {
        let data = EventData::new_u64(entry.to_bits());
        match epoll::add(&self.epoll, process, data, EDGES) {
            // A registration that could not be deleted; nobody waits for it any more.
            Err(Errno::EXIST) => self.again(process, entry).map_err(|_| Errno::EXIST),
            added => added,
        }
    }

    fn again(&self, process: &Process, entry: Token) -> Result<(), Errno> {
        // Changing a registration checks the descriptor again: if it is ready, that is a new edge.
        epoll::modify(
            &self.epoll,
            process,
            EventData::new_u64(entry.to_bits()),
            EDGES,
        )
    }

    fn delete(&self, process: &Process) {
        // Deleted before the descriptor is closed: otherwise a copy in a forked child would keep
        // the registration alive, and nobody could delete it any more.
        let _ = epoll::delete(&self.epoll, process);
    }
}
