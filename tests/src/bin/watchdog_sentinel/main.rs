//! Links with a sentinel, many of them and under bad conditions. The process that makes the links is a fork; each child is
//! another fork of this process, which never holds a write end: what a child needs comes by SCM_RIGHTS.

use std::process::ExitCode;

use workspace_tests::scenario;

mod copies;
mod ends;
mod given;
mod pages;
mod races;
mod refused;
mod thread;
mod words;

fn main() -> ExitCode {
    // Forks of forks, whose parents were killed, are ours to end.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).expect("subreaper");
    let scenarios = [
        ends::SCENARIOS,
        refused::SCENARIOS,
        pages::SCENARIOS,
        copies::SCENARIOS,
        words::SCENARIOS,
        races::SCENARIOS,
        thread::SCENARIOS,
    ];
    scenario::run(&scenarios.concat())
}
