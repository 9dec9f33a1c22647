//! What is done under faults: the scenarios, by what they are about.

mod adopt;
mod link;
mod process;
mod shim;
mod spawn;
mod stop;
mod watch;

use super::scene::Scenario;

/// All of them.
#[must_use]
pub fn all() -> Vec<Scenario> {
    [
        spawn::ALL,
        process::ALL,
        watch::ALL,
        stop::ALL,
        adopt::ALL,
        link::ALL,
        shim::ALL,
    ]
    .concat()
}
