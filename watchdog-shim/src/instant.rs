//! Time that means the same in several processes.

use std::time::Duration;

use crate::sys;

/// A time on the monotonic clock. It means the same in every process of the shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(u64);

impl Instant {
    /// The current time. The call does not fail: the shim has tried it before it started anything,
    /// and no other process can add a filter to the shim later. If it fails nevertheless, this
    /// returns the end of time, so every deadline has passed.
    pub(crate) fn now() -> Instant {
        Instant(sys::monotonic_nanoseconds().unwrap_or(u64::MAX))
    }

    pub(crate) fn from_nanoseconds(nanoseconds: u64) -> Instant {
        Instant(nanoseconds)
    }

    pub(crate) fn nanoseconds(self) -> u64 {
        self.0
    }

    pub(crate) fn after(self, duration: Duration) -> Instant {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_add(nanoseconds))
    }

    /// How long ago `earlier` was.
    pub(crate) fn since(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// How long it is until this time; zero once it has passed.
    pub(crate) fn remaining(self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(Instant::now().0))
    }
}
