//! Scenarios of a watcher that count what this process has open, or close it.

use std::process::ExitCode;

use pidfd_watcher::Watcher;
use workspace_tests::scenario::{self, Scenario};
use workspace_tests::{Held, Told};

const SCENARIOS: &[Scenario] = &[("panics", panics), ("panics-unheard", panics_unheard)];

fn main() -> ExitCode {
    scenario::run(SCENARIOS)
}

/// One callback panics, under the default report; the next one runs.
fn panics() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    watcher
        .watch(child.process(), |_| panic!("as planned"))
        .expect("watch");
    let (after, _) = Told::by(&watcher, child.process());
    child.exit(6);
    assert_eq!(after.code(), Some(6));
}

fn panics_unheard() {
    // SAFETY: nothing in this process owns the number.
    unsafe { libc::close(2) };
    panics();
}
