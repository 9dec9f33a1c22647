//! A closure between fork and exec.

use workspace_tests::scenario::passes;

const CLOSURE: &str = env!("CARGO_BIN_EXE_shim_closure");

#[test]
fn closure_runs_in_a_child_that_the_c_library_forked() {
    passes(CLOSURE, "handlers");
}

#[test]
fn closure_that_allocates_is_done_in_each_of_300_spawns() {
    passes(CLOSURE, "allocates");
}

#[test]
fn closure_that_hangs_is_ended_by_its_alarm_and_told_as_such() {
    passes(CLOSURE, "hangs");
}
