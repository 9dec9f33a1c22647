//! `Process` where the process around it is unusual. Each case runs in a fixture process of its own.

use std::process::Command;

use workspace_tests::{Guard, scenario};

#[track_caller]
fn passes(case: &str) {
    let mut fixture = Guard::spawn(Command::new(env!("CARGO_BIN_EXE_proc_case")).arg(case));
    let status = fixture.wait_deadline();
    assert!(status.success(), "{case}: {status}");
}

#[track_caller]
fn passes_in_namespace(case: &str) {
    scenario::passes(env!("CARGO_BIN_EXE_proc_namespace"), case);
}

/// Cases find the fixture that they watch beside their own program.
#[test]
fn fixtures_lie_in_one_folder() {
    let case = std::path::Path::new(env!("CARGO_BIN_EXE_proc_case"));
    let target = std::path::Path::new(env!("CARGO_BIN_EXE_proc_target"));
    assert_eq!(case.with_file_name("proc_target"), target);
}

#[test]
fn handle_costs_one_descriptor_and_leaves_none() {
    passes("descriptors");
}

#[test]
fn without_a_free_descriptor_opening_fails_and_waiting_works() {
    passes("no-descriptor-left");
}

#[test]
fn refused_system_call_is_a_typed_error() {
    passes("pidfd-open-refused");
}

#[test]
fn status_is_unknown_when_nobody_may_tell_it() {
    passes("every-source-refused");
}

#[test]
fn child_that_the_kernel_reaps_is_told_with_the_right_status_or_none() {
    passes("sigchld-ignored");
}

#[test]
fn status_hidden_from_an_unprivileged_observer_is_not_taken_for_success() {
    passes("unprivileged-observer");
}

#[test]
fn child_whose_exit_is_announced_by_no_signal_is_ours_to_wait_for() {
    passes("child-without-signal");
}

#[test]
fn storm_of_handled_signals_does_not_end_a_wait() {
    passes("signal-storm");
}

#[test]
fn status_of_a_stranger_is_known_after_our_main_thread_ended() {
    passes("main-thread-gone");
}

#[test]
fn newcomer_with_a_recycled_number_is_never_hit_nor_adopted() {
    passes_in_namespace("pid-reuse");
}

#[test]
fn group_whose_leader_was_reaped_is_signalled_no_more() {
    passes_in_namespace("group-reuse");
}

#[test]
fn status_of_a_zombie_that_is_reaped_while_it_is_looked_at_is_its_own() {
    passes_in_namespace("reaped-in-between");
}

#[test]
fn identity_of_another_pid_namespace_is_refused() {
    passes_in_namespace("other-namespace");
}

#[test]
fn shim_that_is_not_ours_to_signal_is_found_all_the_same() {
    passes("foreign-owner");
}

#[test]
fn pidfd_whose_number_only_anothers_proc_tells_is_refused() {
    passes_in_namespace("others-proc");
}

#[test]
fn descriptor_that_somebody_closed_is_an_error_and_no_exit() {
    passes("closed-number");
}
