//! What a watcher holds, at rest and after the last one is gone.

use workspace_tests::scenario;

#[test]
fn after_the_last_watcher_there_is_no_thread_and_no_descriptor() {
    scenario::passes(env!("CARGO_BIN_EXE_watcher_alone"), "leaves-nothing");
}

#[test]
fn watcher_opens_two_descriptors_and_a_watch_opens_none() {
    scenario::passes(env!("CARGO_BIN_EXE_watcher_alone"), "opens-nothing-more");
}

#[test]
fn stop_and_signals_of_the_c_library_interrupt_the_wait_and_end_nothing() {
    scenario::passes(env!("CARGO_BIN_EXE_watcher_alone"), "interrupted");
}

#[test]
fn threads_that_ask_for_the_global_watcher_at_once_are_given_one() {
    scenario::passes(env!("CARGO_BIN_EXE_watcher_alone"), "global-at-once");
}

#[test]
fn watcher_keeps_no_memory_of_what_is_over() {
    scenario::passes(env!("CARGO_BIN_EXE_watcher_heap"), "rounds");
}
