//! Sources on the numbers of the standard streams.

use workspace_tests::scenario::passes;

const STANDARD: &str = env!("CARGO_BIN_EXE_fd_standard");
/// Used by the scenarios, from beside them.
const _: &str = env!("CARGO_BIN_EXE_fd_list");

#[test]
fn a_source_on_a_standard_number_arrives_on_another() {
    passes(STANDARD, "moved_elsewhere");
}

#[test]
fn a_source_on_a_standard_number_keeps_it_whatever_the_command_says() {
    passes(STANDARD, "kept_where_they_are");
}

#[test]
fn sources_on_all_standard_numbers_may_change_places() {
    passes(STANDARD, "among_themselves");
}

#[test]
fn a_source_on_a_standard_number_arrives_in_every_child() {
    passes(STANDARD, "spawned_again");
}
