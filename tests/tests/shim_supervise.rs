//! Being told of a shim's end, and what dropped handles leave: nothing.

use workspace_tests::scenario::passes;

const CASE: &str = env!("CARGO_BIN_EXE_shim_supervise");

/// The scenarios find their shims beside their own program.
#[test]
fn fixtures_lie_in_one_folder() {
    let case = std::path::Path::new(CASE);
    for (program, name) in [
        (env!("CARGO_BIN_EXE_shim_box"), "shim_box"),
        (env!("CARGO_BIN_EXE_proc_target"), "proc_target"),
    ] {
        assert_eq!(case.with_file_name(name), std::path::Path::new(program));
    }
}

#[test]
fn exit_of_a_shim_is_told_to_each_callback_once_with_its_status() {
    passes(CASE, "on_exit");
}

#[test]
fn exit_of_a_shim_is_a_future_for_any_executor() {
    passes(CASE, "exited");
}

#[test]
fn handler_dropped_in_its_own_callback_leaves_no_zombie() {
    passes(CASE, "callback_drops_handler");
}

#[test]
fn shim_dropped_when_no_descriptor_is_left_for_a_watcher_is_reaped() {
    passes(CASE, "no_descriptor_for_the_watcher");
}

#[test]
fn three_thousand_shims_spawned_dropped_and_stopped_in_random_order_leave_nothing() {
    passes(CASE, "storm");
}
