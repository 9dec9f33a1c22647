//! What happens between fork and exec allocates nothing and needs no memory of its own.

use workspace_tests::scenario::passes;

const BETWEEN: &str = env!("CARGO_BIN_EXE_fd_between");
/// Used by the scenarios, from beside them.
const _: &str = env!("CARGO_BIN_EXE_fd_list");

#[test]
fn the_trap_catches_a_hook_that_allocates() {
    passes(BETWEEN, "trap_works");
}

#[test]
fn a_plan_allocates_nothing_with_close_range() {
    passes(BETWEEN, "close_range");
}

#[test]
fn a_plan_allocates_nothing_with_proc() {
    passes(BETWEEN, "proc");
}

#[test]
fn a_plan_allocates_nothing_with_the_loop() {
    passes(BETWEEN, "loop");
}

#[test]
fn an_error_of_the_child_allocates_nothing() {
    passes(BETWEEN, "error");
}

#[test]
fn a_child_that_shares_the_parents_memory_leaves_it_alone() {
    passes(BETWEEN, "shared_memory");
}
