//! Plans at the limit of open files.

use workspace_tests::scenario::passes;

const LIMITS: &str = env!("CARGO_BIN_EXE_fd_limits");
/// Used by the scenarios, from beside them.
const _: &str = env!("CARGO_BIN_EXE_fd_list");

#[test]
fn the_last_number_below_the_limit_can_be_had_and_the_limit_cannot() {
    passes(LIMITS, "last_number");
}

#[test]
fn what_is_open_above_a_lowered_limit_can_be_kept() {
    passes(LIMITS, "kept_above");
}

#[test]
fn without_a_free_descriptor_the_error_is_typed_and_nothing_leaks() {
    passes(LIMITS, "none_left");
}

#[test]
fn a_limit_lowered_after_apply_is_told_with_the_number() {
    passes(LIMITS, "lowered_after");
}

#[test]
fn a_source_closed_behind_our_back_is_told_with_the_number() {
    passes(LIMITS, "source_gone");
}

#[test]
fn a_hidden_limit_does_no_harm() {
    passes(LIMITS, "limit_unknown");
}
