//! Nothing that was not planned reaches a child, whatever is refused.

use std::process::{Command, Stdio};

use workspace_tests::scenario::passes;

const CLOSE: &str = env!("CARGO_BIN_EXE_fd_close");
/// Used by the scenarios, from beside them.
const _: &str = env!("CARGO_BIN_EXE_fd_list");

/// Runs a scenario that mounts something over /proc, in a mount namespace of its own.
fn passes_without_proc(scenario: &str) {
    let mut probe = Command::new(CLOSE);
    probe
        .arg("can_hide_proc")
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    if probe.status().is_ok_and(|status| status.success()) {
        passes(CLOSE, scenario);
    } else {
        eprintln!("skipped {scenario}: unshare(CLONE_NEWNS) or mount is refused here");
    }
}

#[test]
fn ten_thousand_leaks_do_not_arrive() {
    passes(CLOSE, "plain");
}

#[test]
fn none_arrives_when_close_range_is_eperm() {
    passes(CLOSE, "eperm");
}

#[test]
fn none_arrives_when_close_range_is_enosys() {
    passes(CLOSE, "enosys");
}

#[test]
fn none_arrives_when_close_range_is_einval() {
    passes(CLOSE, "einval");
}

#[test]
fn none_arrives_without_proc() {
    passes_without_proc("plain_without_proc");
}

#[test]
fn none_arrives_when_close_range_is_eperm_without_proc() {
    passes_without_proc("eperm_without_proc");
}

#[test]
fn none_arrives_when_close_range_is_enosys_without_proc() {
    passes_without_proc("enosys_without_proc");
}

#[test]
fn none_arrives_when_close_range_is_einval_without_proc() {
    passes_without_proc("einval_without_proc");
}

#[test]
fn a_folder_that_only_looks_like_proc_is_not_believed() {
    passes_without_proc("false_proc");
}

#[test]
fn none_arrives_when_proc_cannot_be_listed() {
    passes(CLOSE, "listing_refused");
}

#[test]
fn a_lowered_limit_hides_nothing() {
    passes(CLOSE, "lowered");
}

#[test]
fn a_lowered_limit_hides_nothing_from_proc() {
    passes(CLOSE, "lowered_by_proc");
}

#[test]
fn a_lowered_limit_hides_nothing_from_the_loop() {
    passes_without_proc("lowered_by_loop");
}

#[test]
fn a_full_table_is_cleaned_without_a_descriptor() {
    passes(CLOSE, "table_full");
}

#[test]
fn a_child_that_cannot_know_what_is_open_does_not_start() {
    passes_without_proc("no_method");
}

#[test]
fn leaks_between_and_above_kept_numbers_are_closed() {
    passes(CLOSE, "gaps");
}
