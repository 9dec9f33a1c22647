//! What a failed spawn leaves for the next one.

use workspace_tests::scenario::passes;

const AGAIN: &str = env!("CARGO_BIN_EXE_fd_again");

#[test]
fn an_old_failure_explains_no_later_one() {
    passes(AGAIN, "old_report");
}

#[test]
fn an_error_socket_in_a_placeholders_place_is_a_collision() {
    passes(AGAIN, "placeholder_taken");
}
