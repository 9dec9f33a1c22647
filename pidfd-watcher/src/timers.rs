//! Futures that wait for a time.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use rustix::io::Errno;

use crate::contain::discard;
use crate::poller::Poller;

/// Names one waiting future: the time on the monotonic clock, and a unique number.
pub(crate) type Key = (Duration, u64);

/// The waiting futures, the earliest first. The kernel's timer is set to that one.
#[derive(Debug)]
pub(crate) struct Timers(Mutex<Waiting>);

#[derive(Debug)]
struct Waiting {
    /// `None`: the future has not been polled yet.
    wakers: BTreeMap<Key, Option<Waker>>,
    next: u64,
    closed: bool,
}

/// The state of a waiting future.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Waits,
    Over,
    /// The watcher is shut down: the time will not be reported.
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

    /// Makes `poller` report when the clock shows `at`. The error is that of setting its timer.
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

    /// Removes it. If the timer is now set for nobody, it wakes the thread once.
    pub(crate) fn remove(&self, key: Key) {
        let waker = self.lock().wakers.remove(&key);
        // Dropping it runs foreign code, which may call us.
        drop(waker);
    }

    /// Returns the state. `waker` is woken when it changes.
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

    /// Wakes those that are due, and sets the timer to the next one.
    pub(crate) fn fire(&self, now: Duration, poller: &Poller) {
        let mut waiting = self.lock();
        let later = waiting.wakers.split_off(&(now, u64::MAX));
        let due = std::mem::replace(&mut waiting.wakers, later);
        if let Some((at, _)) = waiting.wakers.keys().next() {
            // This worked before.
            let _ = poller.set_timer(*at);
        }
        drop(waiting);
        due.into_values().flatten().for_each(wake);
    }

    /// Wakes all of them: no time will be reported any more.
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

/// Runs foreign code: a panic in it ends here. The program's panic hook has reported it.
fn wake(waker: Waker) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
        discard(payload);
    }
}
