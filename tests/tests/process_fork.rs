//! `Process::fork`: a child with a handle from birth.

use workspace_tests::scenario;

#[track_caller]
fn passes(scenario: &str) {
    scenario::passes(env!("CARGO_BIN_EXE_proc_fork"), scenario);
}

#[test]
fn forked_child_has_a_handle_from_birth_and_no_copy_of_it() {
    passes("handle-from-birth");
}

#[test]
fn nothing_of_the_parents_runs_in_a_forked_child_but_the_closure() {
    passes("closure-is-all-that-runs");
}

#[test]
fn forked_child_is_found_by_a_plain_waitpid() {
    passes("child-like-any");
}

#[test]
fn refused_clone_is_a_typed_error_and_leaves_nothing() {
    passes("refused");
}

#[test]
fn without_a_descriptor_no_child_is_made() {
    passes("no-descriptor-left");
}

#[test]
fn copy_of_a_handle_reaps_nothing_and_does_not_say_so() {
    passes("copy-of-a-handle");
}
