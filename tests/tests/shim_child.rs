//! What a shim finds when it starts. Each in a fixture process of its own.

use workspace_tests::scenario::passes;

const CASE: &str = env!("CARGO_BIN_EXE_shim_case");
/// Used by the scenarios, from beside them.
const _: &str = env!("CARGO_BIN_EXE_fd_list");

#[test]
fn planned_descriptors_arrive_and_nothing_else() {
    passes(CASE, "child_descriptors");
}

#[test]
fn watchdog_and_configuration_give_way_to_numbers_of_the_caller() {
    passes(CASE, "child_watchdog_moves");
}

#[test]
fn configuration_of_any_size_is_read_once() {
    passes(CASE, "child_config");
}

#[test]
fn configuration_that_was_not_meant_is_refused_and_left_alone() {
    passes(CASE, "child_config_errors");
}

#[test]
fn blocked_and_ignored_signals_are_not_inherited() {
    passes(CASE, "child_signals");
}

#[test]
fn changes_to_the_environment_apply_in_their_order() {
    passes(CASE, "child_environment");
}

#[test]
fn links_of_an_ancestor_are_not_passed_on() {
    passes(CASE, "child_ancestors_links");
}

#[test]
fn standard_streams_are_what_was_asked_for() {
    passes(CASE, "child_streams");
}

#[test]
fn child_is_in_the_group_and_session_that_the_docs_promise() {
    passes(CASE, "child_belonging");
}

#[test]
fn one_spawner_starts_several_shims() {
    passes(CASE, "child_twice");
}

#[test]
fn closure_that_allocates_beside_allocating_threads_does_not_hang() {
    passes(CASE, "child_allocating_closure");
}

#[test]
fn nothing_a_shim_is_given_reaches_its_runtime() {
    passes(CASE, "child_reaches_nothing");
}
