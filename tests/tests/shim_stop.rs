//! How shims end, and that none is left. Each in a fixture process of its own.

use workspace_tests::scenario::passes;

const CASE: &str = env!("CARGO_BIN_EXE_shim_case");

#[test]
fn shim_that_obeys_is_stopped_with_its_own_status() {
    passes(CASE, "stop_obedient");
}

#[test]
fn shim_that_ignores_the_stop_signal_is_killed_after_its_grace_period() {
    passes(CASE, "stop_stubborn");
}

#[test]
fn stopped_shim_is_continued_so_that_it_can_obey() {
    passes(CASE, "stop_stopped");
}

#[test]
fn dead_shim_is_only_reaped() {
    passes(CASE, "stop_dead");
}

#[test]
fn shim_reaped_elsewhere_is_no_error_and_no_guess() {
    passes(CASE, "stop_reaped_elsewhere");
}

#[test]
fn stop_policy_of_the_spawner_is_followed() {
    passes(CASE, "stop_policies");
}

#[test]
fn killed_shim_is_waited_for() {
    passes(CASE, "stop_kill_and_wait");
}

#[test]
fn dropped_shim_ends_and_is_reaped() {
    passes(CASE, "drop_one");
}

#[test]
fn dropped_dead_shim_is_reaped_at_once() {
    passes(CASE, "drop_dead");
}

#[test]
fn two_hundred_shims_dropped_at_once_leave_nothing() {
    passes(CASE, "drop_many");
}

#[test]
fn forked_copy_of_a_handler_is_inert() {
    passes(CASE, "drop_forked_copy");
}

#[test]
fn released_shim_lives_on() {
    passes(CASE, "release");
}

#[test]
fn adopted_shim_is_the_same_process() {
    passes(CASE, "adopt");
}

#[test]
fn adopting_a_dead_shim_says_that_it_is_gone() {
    passes(CASE, "adopt_gone");
}
