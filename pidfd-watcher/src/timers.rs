//! Who waits for a time.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use rustix::io::Errno;

use crate::contain::discard;
use crate::poller::Poller;

/// Names one who waits: when the time comes on the monotonic clock, and a number of its own.
pub(crate) type Key = (Duration, u64);

/// Those who wait for a time, the earliest first. The kernel's timer is set to that one.
#[derive(Debug)]
pub(crate) struct Timers(Mutex<Waiting>);

#[derive(Debug)]
struct Waiting {
    /// `None`: nobody has asked yet.
    wakers: BTreeMap<Key, Option<Waker>>,
    next: u64,
    closed: bool,
}

/// How it stands with one who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Waits,
    Over,
    /// The watcher is shut down: the time will not be told.
    Closed,
}

impl Timers {
    pub(crate) fn new() -> Timers {
        Timers(Mutex::new(Waiting {
            wakers: BTreeMap::new(),
            next: 0,
            closed: false,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on `poller` tells when the clock shows `at`. The error is that of setting its
    /// timer.
    pub(crate) fn add(&self, at: Duration, poller: &Poller) -> Result<Key, Errno> {
        let mut waiting = self.lock();
        let key = (at, waiting.next);
        let is_first = waiting
            .wakers
            .keys()
            .next()
            .is_none_or(|first| key < *first);
        if is_first {
            poller.set_timer(at)?;
        }
        waiting.next += 1;
        waiting.wakers.insert(key, None);
        Ok(key)
    }

    /// Nobody waits for it any more. A timer that is set for nobody wakes the thread once.
    pub(crate) fn remove(&self, key: Key) {
        let waker = self.lock().wakers.remove(&key);
        // Somebody else's code, which may call us.
        drop(waker);
    }

    /// Looks how it stands, and has `waker` woken when that changes.
    pub(crate) fn look(&self, key: Key, waker: Waker) -> State {
        let mut waiting = self.lock();
        let closed = waiting.closed;
        let (state, old) = match waiting.wakers.get_mut(&key) {
            None => (State::Over, None),
            Some(_) if closed => (State::Closed, None),
            Some(place) => (State::Waits, place.replace(waker)),
        };
        drop(waiting);
        drop(old);
        state
    }

    /// Wakes those whose time has come, and sets the timer to the next one.
    pub(crate) fn fire(&self, now: Duration, poller: &Poller) {
        let mut waiting = self.lock();
        let later = waiting.wakers.split_off(&(now, u64::MAX));
        let due = std::mem::replace(&mut waiting.wakers, later);
        if let Some((at, _)) = waiting.wakers.keys().next() {
            // It could be set before.
            let _ = poller.set_timer(*at);
        }
        drop(waiting);
        due.into_values().flatten().for_each(wake);
    }

    /// Tells everybody that no time will be told any more.
    pub(crate) fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        let wakers: Vec<Waker> = waiting
            .wakers
            .values_mut()
            .filter_map(Option::take)
            .collect();
        drop(waiting);
        wakers.into_iter().for_each(wake);
    }
}

/// Somebody else's code: a panic in it ends there. The program's panic hook has told of it.
fn wake(waker: Waker) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
        discard(payload);
    }
}
