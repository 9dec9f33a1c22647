//! Fixture programs that hold several short scenarios, each run in a process of its own.

use std::io::Read;
use std::process::{Command, ExitCode, Stdio};

use crate::{Guard, signals};

/// A scenario by its name; it panics when something is wrong.
pub type Scenario = (&'static str, fn());

/// `main` of such a fixture: runs the scenario that the first argument names.
pub fn run(scenarios: &[Scenario]) -> ExitCode {
    signals::default_actions();
    let name = std::env::args().nth(1).unwrap_or_default();
    match scenarios.iter().find(|(known, _)| *known == name) {
        Some((_, scenario)) => {
            scenario();
            ExitCode::SUCCESS
        }
        None => {
            eprintln!("no scenario named {name:?}");
            ExitCode::FAILURE
        }
    }
}

/// The test's side: the scenario ran to its end. What it wrote to standard error is shown if not.
pub fn passes(program: &str, scenario: &str) {
    passes_with(program, scenario, &[]);
}

/// The same with more arguments.
pub fn passes_with(program: &str, scenario: &str, args: &[&str]) {
    let mut command = Command::new(program);
    command
        .arg(scenario)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = Guard::spawn(&mut command);
    let mut stderr = child.stderr.take().expect("a pipe");
    // On a thread: a scenario that hangs is found by the deadline below, not by the end of its output.
    let reader = std::thread::spawn(move || {
        let mut said = Vec::new();
        let _ = stderr.read_to_end(&mut said);
        String::from_utf8_lossy(&said).into_owned()
    });
    let status = child.wait_deadline();
    let said = reader.join().unwrap_or_default();
    assert!(status.success(), "{scenario} {args:?}: {status}\n{said}");
    for line in said.lines().filter(|line| line.starts_with("skipped")) {
        eprintln!("{line}");
    }
}
