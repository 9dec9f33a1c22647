//! What holds whatever way a child is created in. Each in a fixture process of its own, once for each way.

const CASE: &str = env!("CARGO_BIN_EXE_shim_case");
/// Used by the scenarios, from beside them.
const _: &str = env!("CARGO_BIN_EXE_fd_list");

workspace_tests::by_every_method! {
    child_killed_at_any_step_is_a_failed_spawn_of_that_step: "method_killed_on_the_way",
    way_is_found_whatever_refuses_those_before_it: "method_refused_by_any_errno",
    no_way_left_is_an_error_that_leaves_nothing: "method_all_refused",
    storm_of_signals_reaches_the_parent_whole_and_no_child: "method_storm",
    signal_that_is_ignored_changes_nothing_before_the_exec_either: "method_signals_that_are_ignored",
    signal_that_ends_the_child_does_so_once_its_mask_is_its_own: "method_signals_that_end",
    sixteen_threads_spawn_at_once: "method_threads",
    missing_standard_stream_is_dev_null_in_the_child: "method_closed_streams",
    program_is_found_where_std_finds_it: "method_search",
    nothing_that_a_spawn_opens_here_is_inheritable: "method_own_descriptors",
    child_that_the_kernel_reaps_is_no_failure: "method_children_reaped_by_the_kernel",
    child_allocates_nothing: "method_trap",
}
