//! Injects faults into operations of ours, by order; must be pid 1 of a PID namespace for that.
//! Prints a line for each fault: see `faults::campaign`. Ends when all are done, with 0 if nothing
//! bad came of any.
//!
//! It is also what the scenarios start: a child that is told what to do, and `watchdog-shim`.

use std::process::ExitCode;

use workspace_tests::faults::{actor, campaign};
use workspace_tests::orders::Order;
use workspace_tests::signals;

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    if name == watchdog_shim::NAME {
        actor::arm_the_shim();
        // SAFETY: first in main but for a call that owns nothing.
        unsafe { watchdog_shim::run_if_asked() };
    }
    signals::default_actions();
    Order::obey(|order| match order {
        Order::Fault(role) => actor::play(role),
        Order::InjectFaults(wish) => campaign::run(&wish),
        other => panic!("not for this program: {other:?}"),
    })
}
