//! How shims end, and that none is left. Each in a fixture process of its own, once for each way
//! in which a child can be created.

const CASE: &str = env!("CARGO_BIN_EXE_shim_case");

workspace_tests::by_every_method! {
    shim_that_obeys_is_stopped_with_its_own_status: "stop_obedient",
    shim_that_ignores_the_stop_signal_is_killed_after_its_grace_period: "stop_stubborn",
    stopped_shim_is_continued_so_that_it_can_obey: "stop_stopped",
    dead_shim_is_only_reaped: "stop_dead",
    shim_reaped_elsewhere_is_no_error_and_no_guess: "stop_reaped_elsewhere",
    stop_policy_of_the_spawner_is_followed: "stop_policies",
    killed_shim_is_waited_for: "stop_kill_and_wait",
    dropped_shim_ends_and_is_reaped: "drop_one",
    dropped_dead_shim_is_reaped_at_once: "drop_dead",
    two_hundred_shims_dropped_at_once_leave_nothing: "drop_many",
    forked_copy_of_a_handler_is_inert: "drop_forked_copy",
    released_shim_lives_on: "release",
    adopted_shim_is_the_same_process: "adopt",
    adopting_a_dead_shim_says_that_it_is_gone: "adopt_gone",
}
