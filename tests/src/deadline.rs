//! How long a test waits.

use std::env;
use std::ffi::OsStr;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rustix::thread::{Timespec, nanosleep};

/// How much slower than usual this machine is: a whole number.
const SLOWNESS: &str = "WORKSPACE_TESTS_SLOWNESS";

/// Of a machine that is not slow. Long, since it only bounds a failure.
const USUAL: Duration = Duration::from_secs(60);

/// How long anything may take before a test gives up: 60 s, times `WORKSPACE_TESTS_SLOWNESS` if the
/// environment has that. An emulated machine is 10 to 30 times slower.
///
/// # Panics
/// If that is not a whole number above zero.
#[must_use]
pub fn time_limit() -> Duration {
    // Looked up once: a test may count what it allocates, or change its environment.
    static FACTOR: AtomicU32 = AtomicU32::new(0);
    let mut factor = FACTOR.load(Relaxed);
    if factor == 0 {
        factor = slowness(env::var_os(SLOWNESS).as_deref());
        FACTOR.store(factor, Relaxed);
    }
    USUAL * factor
}

fn slowness(factor: Option<&OsStr>) -> u32 {
    let Some(factor) = factor else { return 1 };
    let factor = factor.to_str().and_then(|factor| factor.parse().ok());
    let factor = factor.filter(|factor| *factor > 0);
    factor.unwrap_or_else(|| panic!("{SLOWNESS} is a whole number above zero"))
}

/// Between two looks.
const PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 1_000_000,
};

/// Polls `condition` until it gives a value; panics with `what` after [`time_limit`].
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + time_limit();
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
