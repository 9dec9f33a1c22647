//! What each part of the sentinel is for: one test for each that could be missing unseen.

use workspace_tests::scenario::passes;

const SENTINEL: &str = env!("CARGO_BIN_EXE_watchdog_sentinel");

#[test]
fn whoever_still_sleeps_on_a_word_is_woken_when_it_is_another_links() {
    passes(SENTINEL, "stranger");
}

#[test]
fn child_and_its_copy_made_by_fork_are_both_told() {
    passes(SENTINEL, "two-sleepers");
}

#[test]
fn slot_that_was_given_back_rests_while_others_are_used() {
    passes(SENTINEL, "rests");
}

#[test]
fn links_that_come_and_go_leave_nothing_on_either_side() {
    passes(SENTINEL, "churn");
}

#[test]
fn sentinel_is_silent_while_a_release_is_on_its_way() {
    passes(SENTINEL, "said-in-the-middle");
}

#[test]
fn what_is_said_while_the_child_looks_counts_more_than_the_death_behind_it() {
    passes(SENTINEL, "said-meanwhile");
}

#[test]
fn sentinel_is_a_small_thread_that_no_signal_reaches_and_nobody_writes_to_its_list() {
    passes(SENTINEL, "thread");
}

#[test]
fn listener_has_a_shorter_slice_than_the_sentinel_that_wakes_it() {
    passes(SENTINEL, "slices");
}

#[test]
fn copy_of_a_parent_has_no_words_to_write_to() {
    passes(SENTINEL, "copy-of-the-page");
}

#[test]
fn link_made_when_descriptors_are_back_has_a_sentinel() {
    passes(SENTINEL, "may-pass");
}

#[test]
fn what_is_refused_is_not_asked_for_again() {
    passes(SENTINEL, "for-good");
}

// A death at the worst moment, and many at once.

#[test]
fn parent_killed_at_any_step_of_making_a_link_is_told_to_the_child_of_an_earlier_one() {
    passes(SENTINEL, "killed-at-each-step");
}

#[test]
fn hand_over_that_races_with_a_death_is_never_read_as_one() {
    passes(SENTINEL, "race-hand-over");
}

#[test]
fn threads_that_make_the_first_links_at_once_start_one_sentinel() {
    passes(SENTINEL, "once");
}

#[test]
fn child_whose_wake_a_sibling_has_is_told_by_the_pipe() {
    passes(SENTINEL, "absorbed");
}
