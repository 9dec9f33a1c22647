//! What a shim finds when it starts. Each in a fixture process of its own, once for each way
//! in which a child can be created.

const CASE: &str = env!("CARGO_BIN_EXE_shim_case");
/// Used by the scenarios, from beside them.
const _: &str = env!("CARGO_BIN_EXE_fd_list");

workspace_tests::by_every_method! {
    planned_descriptors_arrive_and_nothing_else: "child_descriptors",
    watchdog_and_configuration_give_way_to_numbers_of_the_caller: "child_watchdog_moves",
    configuration_of_any_size_is_read_once: "child_config",
    configuration_that_was_not_meant_is_refused_and_left_alone: "child_config_errors",
    blocked_and_ignored_signals_are_not_inherited: "child_signals",
    changes_to_the_environment_apply_in_their_order: "child_environment",
    links_of_an_ancestor_are_not_passed_on: "child_ancestors_links",
    standard_streams_are_what_was_asked_for: "child_streams",
    child_is_in_the_group_and_session_that_the_docs_promise: "child_belonging",
    one_spawner_starts_several_shims: "child_twice",
    closure_that_allocates_beside_allocating_threads_does_not_hang: "child_allocating_closure",
    nothing_a_shim_is_given_reaches_its_runtime: "child_reaches_nothing",
}
