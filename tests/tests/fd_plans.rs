//! What was planned is what the child has: plans in real processes.

use workspace_tests::scenario::passes;

const PLANS: &str = env!("CARGO_BIN_EXE_fd_plans");
/// Used by the scenarios, from beside them.
const _: &str = env!("CARGO_BIN_EXE_fd_list");

#[test]
fn every_shape_of_plan_arrives_and_nothing_else() {
    passes(PLANS, "shapes");
}

#[test]
fn random_plans_arrive_and_nothing_else() {
    passes(PLANS, "random");
}

#[test]
fn standard_streams_can_be_targets() {
    passes(PLANS, "standard_targets");
}

#[test]
fn given_and_borrowed_sources_arrive_on_the_numbers_that_were_said() {
    passes(PLANS, "sources");
}

#[test]
fn a_source_that_plans_share_arrives_from_each_and_stays_for_its_last_holder() {
    passes(PLANS, "shared");
}

#[test]
fn a_command_can_be_spawned_again() {
    passes(PLANS, "twice");
}

#[test]
fn a_plan_survives_an_exec_in_place_that_failed() {
    passes(PLANS, "in_place");
}

#[test]
fn a_second_plan_on_one_command_is_refused_and_the_first_stands() {
    passes(PLANS, "second_apply");
}

#[test]
fn commands_are_never_mistaken_for_one_another() {
    passes(PLANS, "moved_commands");
}

#[test]
fn a_command_that_is_being_dropped_is_not_mistaken_for_its_successor() {
    passes(env!("CARGO_BIN_EXE_fd_successor"), "successor");
}

#[test]
fn a_spawn_leaves_the_flags_of_the_parent_alone() {
    passes(PLANS, "flags");
}

#[test]
fn the_plan_runs_in_its_turn_among_hooks_and_after_cwd_and_group() {
    passes(PLANS, "order");
}

#[test]
fn the_plan_works_after_the_change_of_user() {
    passes(PLANS, "ids");
}

#[test]
fn inherit_leaves_other_descriptors_to_their_own_flag() {
    passes(PLANS, "inherit");
}

#[test]
fn nothing_is_left_open_when_the_command_goes() {
    passes(PLANS, "nothing_leaks");
}

#[test]
fn a_swap_with_the_highest_number_needs_nothing_above_it() {
    passes(PLANS, "temporaries_at_the_limit");
}
