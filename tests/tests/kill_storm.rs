//! Runtimes killed at random instants leave nothing behind: a small part of `cargo xtask stress
//! kill`, and the proof that it finds what it looks for.

use std::process::{Command, Stdio};

use workspace_tests::alone::goes_on;
use workspace_tests::{Guard, alone_in_pid_namespace};

fn kill_storm(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kill_storm"));
    command.args(args).stdin(Stdio::null());
    command
}

/// What it prints has the seed.
#[test]
fn nothing_is_left_of_five_hundred_runtimes_killed_at_random_instants() {
    alone_in_pid_namespace!({
        for _ in 0..5 {
            let mut storm = Guard::spawn(&mut kill_storm(&["--count", "100"]));
            assert!(storm.wait_deadline().success());
            goes_on();
        }
    });
}

/// Each kind comes by twice. Where all is well none needs the patience.
fn is_found(loss: &str, said: &str) {
    let args = ["--seed", "19", "--count", "18", "--patience", "10"];
    let storm = kill_storm(&args).args(["--loss", loss]).output();
    let storm = storm.expect("run it");
    let found = String::from_utf8_lossy(&storm.stderr).contains(said);
    assert!(storm.status.code() == Some(1) && found, "{loss}: {storm:?}");
}

#[test]
fn kill_storm_finds_shims_that_do_not_hear_of_the_death() {
    alone_in_pid_namespace!({
        is_found("deaf", "deadline passed: everybody has ended");
    });
}

#[test]
fn kill_storm_finds_stray_descriptors() {
    alone_in_pid_namespace!({
        is_found("descriptor", "nobody has a stray descriptor");
    });
}

#[test]
fn kill_storm_finds_identity_files_that_are_not_whole() {
    alone_in_pid_namespace!({
        is_found("identity", "not whole");
    });
}
