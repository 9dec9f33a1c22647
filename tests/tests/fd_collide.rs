//! A failed exec is told, whatever numbers the child wants.

use workspace_tests::scenario::passes;

const COLLIDE: &str = env!("CARGO_BIN_EXE_fd_collide");
/// Used by the scenarios, from beside them.
const _: &str = env!("CARGO_BIN_EXE_fd_list");

#[test]
fn a_program_that_cannot_be_executed_is_told_with_every_target() {
    passes(COLLIDE, "failing_programs");
}

#[test]
fn a_missing_program_is_told_when_all_low_numbers_are_targets() {
    passes(COLLIDE, "every_low_number");
}

#[test]
fn a_target_that_the_user_closed_is_a_collision_and_not_a_success() {
    passes(COLLIDE, "closed_by_the_user");
}

#[test]
fn a_number_stays_reserved_while_any_command_wants_it() {
    passes(COLLIDE, "two_commands");
}

#[test]
fn a_source_that_goes_leaves_its_number_reserved_for_another_command() {
    passes(COLLIDE, "source_on_a_target");
}

#[test]
fn a_shared_source_that_goes_leaves_its_number_reserved_for_another_command() {
    passes(COLLIDE, "shared_source_on_a_target");
}

#[test]
fn a_socket_of_the_callers_own_is_no_collision() {
    passes(COLLIDE, "own_seqpacket");
}

#[test]
fn a_child_that_cannot_tell_sockets_apart_overwrites_nothing() {
    passes(COLLIDE, "unreadable_sockets");
}

#[test]
fn closed_standard_streams_do_not_mix_up_pipes() {
    passes(COLLIDE, "stdio_closed");
}

#[test]
fn a_closed_standard_stream_without_dev_null_is_refused() {
    passes(COLLIDE, "stdio_refused");
}

#[test]
fn another_spawner_needs_no_reservation() {
    passes(COLLIDE, "own_spawner");
}

#[test]
fn a_forked_copy_waits_for_no_lock_of_the_original() {
    passes(COLLIDE, "forked_copy");
}
