//! What the fixture programs, the cross-crate tests and the benches share.
//!
//! Rules of the house: a test that starts a process holds it in a [`Guard`]; a test that waits, waits
//! under [`DEADLINE`]; what changes process-wide state (limits, signal masks, seccomp, closed standard
//! descriptors) happens in a fixture process of its own, never in the test runner.

pub mod allow_list;
pub mod alone;
pub mod ask;
pub mod clock;
pub mod container;
pub mod demo;
mod dialogue;
pub mod fd_table;
mod folder;
pub mod fork;
mod guard;
pub mod halt;
mod held;
pub mod identity_text;
pub mod installed;
pub mod killings;
pub mod launch;
pub mod machine;
pub mod memory;
pub mod namespace;
pub mod orders;
pub mod orphan;
pub mod peers;
pub mod play;
pub mod proc_fs;
pub mod progress;
mod random;
mod reaped;
pub mod report;
pub mod rung;
pub mod samples;
pub mod scenario;
pub mod seccomp;
pub mod signals;
pub mod sleeper;
pub mod stage;
pub mod target;
pub mod terminal;
mod told;
pub mod trees;

pub use dialogue::Dialogue;
pub use folder::{Folder, text};
pub use guard::Guard;
pub use held::Held;
pub use random::Random;
pub use reaped::reaped;
pub use told::Told;

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up. Long, since it only bounds a failure: 60 s, times
/// `WORKSPACE_TESTS_SLOWNESS` if that was set at build time. An emulated machine is 10 to 30 times slower.
pub const DEADLINE: Duration =
    Duration::from_secs(60 * slowness(option_env!("WORKSPACE_TESTS_SLOWNESS")));

const fn slowness(factor: Option<&str>) -> u64 {
    let Some(factor) = factor else { return 1 };
    match u64::from_str_radix(factor, 10) {
        Ok(factor) if factor > 0 => factor,
        _ => panic!("WORKSPACE_TESTS_SLOWNESS is a whole number above zero"),
    }
}

/// Polls `condition` until it gives a value; panics with `what` after [`DEADLINE`].
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "deadline passed: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
