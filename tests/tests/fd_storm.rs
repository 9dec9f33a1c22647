//! Descriptors that other threads open at the wrong moment.

use workspace_tests::scenario::passes;

/// Used by the scenario, from beside it.
const _: &str = env!("CARGO_BIN_EXE_fd_list");

#[test]
fn no_child_sees_what_other_threads_open_meanwhile() {
    passes(env!("CARGO_BIN_EXE_fd_storm"), "storm");
}
