//! The runtime of a soak. It does what it is asked on standard input, says on standard output what
//! came of it, and ends when its standard input does. It is its own supervisor, too.

use std::process::ExitCode;

use workspace_tests::orders::Order;
use workspace_tests::{signals, soak};

fn main() -> ExitCode {
    // SAFETY: first in main.
    unsafe { watchdog_shim::run_if_asked() };
    signals::default_actions();
    Order::obey(|order| {
        let done = match order {
            Order::Soak { seed, folder, leak } => soak::run(seed, &folder, leak),
            Order::LeaveShim { identity } => soak::leave_shim(&identity),
            other => panic!("not for this program: {other:?}"),
        };
        done.map_or_else(
            |error| {
                eprintln!("soak: the runtime: {error:#}");
                ExitCode::FAILURE
            },
            |()| ExitCode::SUCCESS,
        )
    })
}
