//! The watchdog in an event loop, under deadlines, and where descriptors, threads and pages run out.

use workspace_tests::scenario::passes;

const READINESS: &str = env!("CARGO_BIN_EXE_watchdog_readiness");
const LIMITS: &str = env!("CARGO_BIN_EXE_watchdog_limits");

// design.md: "AsFd: one descriptor that becomes and stays readable once there is a verdict, for any event loop".

#[test]
fn level_triggered_loop_is_told_of_the_verdict() {
    passes(READINESS, "level");
}

#[test]
fn edge_triggered_loop_is_told_of_the_verdict() {
    passes(READINESS, "edge");
}

#[test]
fn descriptor_stays_readable_after_a_death() {
    passes(READINESS, "hang-up");
}

#[test]
fn descriptor_stays_readable_while_a_forked_sibling_holds_the_write_end() {
    passes(READINESS, "sibling");
    passes(READINESS, "sibling-late");
}

#[test]
fn readiness_without_a_verdict_is_cleared_by_looking() {
    passes(READINESS, "spurious");
}

#[test]
fn timeout_is_never_early_though_signals_interrupt_it() {
    passes(READINESS, "timeout");
}

#[test]
fn timeout_of_zero_looks_once() {
    passes(READINESS, "zero");
}

#[test]
fn timeout_past_the_end_of_the_clock_is_none() {
    passes(READINESS, "endless");
}

#[test]
fn verdict_within_the_timeout_is_given() {
    passes(READINESS, "in-time");
}

// cases.md: "fresh channel / - / both ends CLOEXEC, number >= 3, ChildSetup's drop closes the child's end".

#[test]
fn fresh_link_is_close_on_exec_and_its_setup_closes_the_childs_end() {
    passes(LIMITS, "fresh");
}

#[test]
fn first_link_starts_one_sentinel_and_those_after_it_none() {
    passes(LIMITS, "first");
}

#[test]
fn links_without_a_sentinel_start_none() {
    passes(LIMITS, "switched-off");
}

#[test]
fn ends_lie_above_the_standard_streams_in_every_combination_of_closed_ones() {
    passes(LIMITS, "closed-standard");
}

// No descriptor is left behind, and what runs out is a typed error.

#[test]
fn ten_thousand_links_leave_no_descriptor_behind() {
    passes(LIMITS, "leaks");
}

#[test]
fn adoptions_and_monitors_leave_no_descriptor_behind() {
    passes(LIMITS, "adoption-leaks");
}

#[test]
fn link_without_a_free_descriptor_is_an_error_and_leaves_nothing() {
    passes(LIMITS, "no-descriptor");
}

#[test]
fn link_without_a_page_that_forks_wipe_is_an_error_and_leaves_nothing() {
    passes(LIMITS, "no-page");
}

#[test]
fn enforcement_without_room_for_a_thread_is_an_error_and_leaves_the_mask_alone() {
    passes(LIMITS, "no-thread");
}

#[test]
fn enforcement_needs_no_free_descriptor() {
    passes(LIMITS, "enforced-without-descriptors");
}

// design.md: `Keepalive::from_fd`.

#[test]
fn what_is_no_write_end_is_not_taken_for_a_keepalive() {
    passes(LIMITS, "taken");
}

#[test]
fn write_end_that_is_taken_becomes_close_on_exec_and_non_blocking() {
    passes(LIMITS, "taken-flags");
}
