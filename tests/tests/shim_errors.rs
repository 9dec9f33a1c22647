//! Spawns that fail name their stage and leave nothing behind. Each in a fixture process of its own.

use workspace_tests::scenario::passes;

const CASE: &str = env!("CARGO_BIN_EXE_shim_case");

#[test]
fn program_that_cannot_be_executed_is_named_with_its_errno() {
    passes(CASE, "error_program");
}

#[test]
fn bad_working_directory_is_told_from_a_missing_program() {
    passes(CASE, "error_current_dir");
}

#[test]
fn oversized_configuration_is_an_error_and_no_signal() {
    passes(CASE, "error_config");
}

#[test]
fn bad_numbers_are_refused_before_there_is_a_child() {
    passes(CASE, "error_numbers");
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    passes(CASE, "error_arguments");
}

#[test]
fn group_of_another_session_is_refused() {
    passes(CASE, "error_group");
}

#[test]
fn error_and_panic_of_a_closure_fail_the_spawn() {
    passes(CASE, "error_closure");
}

#[test]
fn child_killed_before_its_exec_is_a_failed_spawn() {
    passes(CASE, "error_killed");
}

#[test]
fn child_that_cannot_be_held_is_killed_and_reaped() {
    passes(CASE, "error_pidfd");
}

#[test]
fn every_missing_descriptor_fails_the_spawn_and_leaves_none_behind() {
    passes(CASE, "limit_descriptors");
}

#[test]
fn missing_process_is_told_as_such() {
    passes(CASE, "limit_processes");
}
