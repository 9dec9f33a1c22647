//! Sleeping.

use std::time::Duration;

use rustix::thread::{Timespec, nanosleep};

/// Sleeps for `length`, or less: a signal ends it, and where a filter refuses it comes back at
/// once. std's sleep panics there.
pub(crate) fn nap(length: Duration) {
    if let Ok(length) = Timespec::try_from(length) {
        let _ = nanosleep(&length);
    }
}
