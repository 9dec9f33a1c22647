//! Cases of shim-spawner that count descriptors or children, or change the process they run in.
//!
//! The first argument is the scenario, the second the way in which children are created. Scenarios
//! whose names begin with `as_` are played by the children of the others.

use std::process::ExitCode;

use workspace_tests::clone_method::CloneMethod;

mod child;
mod errors;
mod limits;
mod methods;
mod roles;
mod search;
mod signals;
mod snapshot;
mod stop;

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    if name.starts_with("as_") {
        return workspace_tests::scenario::run(roles::ROLES);
    }
    let method = std::env::args().nth(2).unwrap_or_default();
    snapshot::force(CloneMethod::named(&method));
    let scenarios: Vec<_> = [
        errors::SCENARIOS,
        limits::SCENARIOS,
        child::SCENARIOS,
        methods::SCENARIOS,
        search::SCENARIOS,
        signals::SCENARIOS,
        stop::SCENARIOS,
    ]
    .concat();
    workspace_tests::fd_table::run(&scenarios)
}
