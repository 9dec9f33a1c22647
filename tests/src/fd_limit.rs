//! The limit on descriptors, and tables in which none is free. For a case that runs alone.

use std::fs::File;
use std::os::fd::{AsRawFd, RawFd};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// From here on the soft limit is `soft`; the limits before.
///
/// # Panics
/// If the hard limit is lower.
pub fn set(soft: u64) -> Rlimit {
    let before = getrlimit(Resource::Nofile);
    let current = Some(soft);
    setrlimit(Resource::Nofile, Rlimit { current, ..before }).expect("setrlimit");
    before
}

/// Runs `then` under that soft limit.
pub fn with<T>(soft: u64, then: impl FnOnce() -> T) -> T {
    let before = set(soft);
    let result = then();
    setrlimit(Resource::Nofile, before).expect("setrlimit");
    result
}

/// Takes every number that is free up to the limit.
pub fn fill() -> Vec<File> {
    fill_below(RawFd::MAX)
}

/// Takes every number that is free below `number`, so that the limit alone says how many are free
/// above it.
pub fn fill_below(number: RawFd) -> Vec<File> {
    let null = || File::open("/dev/null").ok();
    std::iter::from_fn(|| null().filter(|file| file.as_raw_fd() < number)).collect()
}
