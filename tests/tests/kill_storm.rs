//! Runtimes killed at random instants leave nothing behind: a small part of `cargo xtask stress
//! kill`, and the proof that it finds what it looks for.

use std::process::{Command, ExitStatus, Stdio};

use workspace_tests::alone::goes_on;
use workspace_tests::{Guard, alone_in_pid_namespace};

fn kill_storm(args: &[&str]) -> ExitStatus {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kill_storm"));
    let mut storm = Guard::spawn(command.args(args).stdin(Stdio::null()));
    storm.wait_deadline()
}

/// What it prints has the seed.
#[test]
fn nothing_is_left_of_five_hundred_runtimes_killed_at_random_instants() {
    alone_in_pid_namespace!({
        for _ in 0..5 {
            assert!(kill_storm(&["--count", "100"]).success());
            goes_on();
        }
    });
}

/// All kinds come by in nine cases, one of them again and again.
fn is_found(loss: &str) {
    let args = ["--count", "90", "--patience", "2", "--loss", loss];
    let status = kill_storm(&args);
    assert_eq!(status.code(), Some(1), "{loss} was not found");
}

#[test]
fn kill_storm_finds_shims_that_do_not_hear_of_the_death() {
    alone_in_pid_namespace!({
        is_found("deaf");
    });
}

#[test]
fn kill_storm_finds_stray_descriptors() {
    alone_in_pid_namespace!({
        is_found("descriptor");
    });
}

#[test]
fn kill_storm_finds_identity_files_that_are_not_whole() {
    alone_in_pid_namespace!({
        is_found("identity");
    });
}
