//! What holds whatever way a child is created in. Each in a fixture process of its own, once for each way.

const CASE: &str = env!("CARGO_BIN_EXE_shim_case");
/// Used by the scenarios, from beside them.
const _: &str = env!("CARGO_BIN_EXE_fd_list");

workspace_tests::on_every_rung! {
    child_killed_at_any_step_is_a_failed_spawn_of_that_step: "rung_killed_on_the_way",
    way_is_found_whatever_refuses_those_before_it: "rung_refused_by_any_errno",
    no_way_left_is_an_error_that_leaves_nothing: "rung_all_refused",
    storm_of_signals_reaches_the_parent_whole_and_no_child: "rung_storm",
    signal_that_is_ignored_changes_nothing_before_the_exec_either: "rung_signals_that_are_ignored",
    signal_that_ends_the_child_does_so_once_its_mask_is_its_own: "rung_signals_that_end",
    sixteen_threads_spawn_at_once: "rung_threads",
    missing_standard_stream_is_dev_null_in_the_child: "rung_closed_streams",
    program_is_found_where_std_finds_it: "rung_search",
    nothing_that_a_spawn_opens_here_is_inheritable: "rung_own_descriptors",
    child_that_the_kernel_reaps_is_no_failure: "rung_children_reaped_by_the_kernel",
    child_allocates_nothing: "rung_trap",
}
