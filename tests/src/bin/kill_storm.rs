//! `cargo xtask stress kill`: kills runtimes at random instants, and looks at what is left of each.
//! It prints a table, and is its runtimes' supervisor, too.

use std::process::ExitCode;

use workspace_tests::{kill_storm, signals};

fn main() -> ExitCode {
    // SAFETY: first in main.
    unsafe { watchdog_shim::run_if_asked() };
    signals::default_actions();
    kill_storm::main().unwrap_or_else(|error| {
        eprintln!("kill_storm: {error:#}");
        ExitCode::FAILURE
    })
}
