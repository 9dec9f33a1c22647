//! Spawns that fail name their stage and leave nothing behind. Each in a fixture process of its own, once for each way
//! in which a child can be created.

const CASE: &str = env!("CARGO_BIN_EXE_shim_case");

workspace_tests::by_every_method! {
    program_that_cannot_be_executed_is_named_with_its_errno: "error_program",
    bad_working_directory_is_told_from_a_missing_program: "error_current_dir",
    oversized_configuration_is_an_error_and_no_signal: "error_config",
    bad_numbers_are_refused_before_there_is_a_child: "error_numbers",
    arguments_that_make_no_sense_are_refused: "error_arguments",
    group_of_another_session_is_refused: "error_group",
    error_and_panic_of_a_closure_fail_the_spawn: "error_closure",
    closure_that_executes_something_else_leaves_nothing_of_it: "error_closure_executes",
    descriptor_that_the_child_cannot_have_is_named: "error_child_numbers",
    child_killed_before_its_exec_is_a_failed_spawn: "error_killed",
    child_that_cannot_be_held_is_killed_and_reaped: "error_pidfd",
    every_missing_descriptor_fails_the_spawn_and_leaves_none_behind: "limit_descriptors",
    handle_that_cannot_be_had_ends_the_one_child_there_is: "limit_handle",
    missing_process_is_told_as_such: "limit_processes",
}
