//! A process with a watcher is forked: the copy is inert, and the parent unharmed.

use workspace_tests::scenario;

#[track_caller]
fn passes(scenario: &str) {
    scenario::passes(env!("CARGO_BIN_EXE_watcher_forks"), scenario);
}

#[test]
fn copy_that_drops_everything_leaves_the_parents_watches_alone() {
    passes("copy-drops");
}

#[test]
fn copy_is_told_what_it_is_whatever_it_asks_for() {
    passes("copy-asks");
}

#[test]
fn global_watcher_of_a_copy_is_its_own() {
    passes("copy-of-the-global-one");
}

#[test]
fn copy_that_has_its_parents_pid_knows_itself_for_a_copy() {
    passes("copy-with-the-same-pid");
}

#[test]
fn copy_made_while_threads_watch_and_cancel_hangs_on_nothing() {
    passes("forks-under-load");
}
