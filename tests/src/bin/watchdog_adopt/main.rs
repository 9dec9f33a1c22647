//! What `Watchdog::from_env` takes, leaves and refuses, and that it changes nothing else: each scenario in a process of its own.

use std::process::ExitCode;

use workspace_tests::scenario;

mod adopted;
mod inherited;
mod limits;
mod number;
mod variable;

fn main() -> ExitCode {
    let scenarios = [
        adopted::SCENARIOS,
        variable::SCENARIOS,
        number::SCENARIOS,
        limits::SCENARIOS,
    ];
    scenario::run(&scenarios.concat())
}
