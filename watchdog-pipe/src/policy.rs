//! How a process is asked to stop, and for how long.

use std::time::Duration;

use rustix::process::Signal;

/// A stop signal, then a grace period, then SIGKILL.
///
/// Set it once, at the spawner ([`Builder::stop_policy`](crate::Builder::stop_policy)). The child
/// reads it from its environment, so both sides use the same grace period.
///
/// ```
/// # use std::time::Duration;
/// # use watchdog_pipe::{Signal, StopPolicy};
/// let policy = StopPolicy::new().signal(Signal::INT).grace(Duration::from_secs(30));
/// assert_eq!(policy.grace_period(), Duration::from_secs(30));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopPolicy {
    signal: Signal,
    grace: Duration,
}

impl StopPolicy {
    /// SIGTERM and five seconds.
    #[must_use]
    pub const fn new() -> StopPolicy {
        StopPolicy {
            signal: Signal::TERM,
            grace: Duration::from_secs(5),
        }
    }

    /// SIGKILL at once.
    #[must_use]
    pub const fn immediate() -> StopPolicy {
        StopPolicy {
            signal: Signal::KILL,
            grace: Duration::ZERO,
        }
    }

    /// The signal that asks the process to stop.
    #[must_use]
    pub const fn signal(self, signal: Signal) -> StopPolicy {
        StopPolicy { signal, ..self }
    }

    /// How long the process may take between the stop signal and SIGKILL, on the monotonic clock.
    /// The child gets it in whole milliseconds, rounded up.
    #[must_use]
    pub const fn grace(self, grace: Duration) -> StopPolicy {
        StopPolicy { grace, ..self }
    }

    /// The signal that asks the process to stop.
    #[must_use]
    pub const fn stop_signal(&self) -> Signal {
        self.signal
    }

    /// How long the process may take after the stop signal.
    #[must_use]
    pub const fn grace_period(&self) -> Duration {
        self.grace
    }

    /// In whole milliseconds, rounded up.
    pub(crate) fn grace_millis(&self) -> u64 {
        let rounded_up = self.grace.as_nanos().div_ceil(1_000_000);
        u64::try_from(rounded_up).unwrap_or(u64::MAX)
    }
}

impl Default for StopPolicy {
    fn default() -> StopPolicy {
        StopPolicy::new()
    }
}
