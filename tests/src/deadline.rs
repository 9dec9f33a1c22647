//! How long a test waits.

use std::time::{Duration, Instant};

use rustix::thread::{Timespec, nanosleep};

/// How long anything may take before a test gives up. Long, since it only bounds a failure: 60 s,
/// times `WORKSPACE_TESTS_SLOWNESS` if that was set at build time. An emulated machine is 10 to 30
/// times slower.
pub const DEADLINE: Duration =
    Duration::from_secs(60 * slowness(option_env!("WORKSPACE_TESTS_SLOWNESS")));

const fn slowness(factor: Option<&str>) -> u64 {
    let Some(factor) = factor else { return 1 };
    match u64::from_str_radix(factor, 10) {
        Ok(factor) if factor > 0 => factor,
        _ => panic!("WORKSPACE_TESTS_SLOWNESS is a whole number above zero"),
    }
}

/// Between two looks.
const PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 1_000_000,
};

/// Polls `condition` until it gives a value; panics with `what` after [`DEADLINE`].
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "deadline passed: {what}");
        // Once. std's sleep goes on after a signal with what is left, and in a flood of signals it
        // never ends: docs/kernel.md#signals.
        let _ = nanosleep(&PAUSE);
    }
}
