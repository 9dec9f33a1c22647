//! Why the write end was closed, told apart however late the child looks; and who may say it.

use workspace_tests::scenario::passes;

const TRIALS: &str = env!("CARGO_BIN_EXE_watchdog_trials");
const FORKS: &str = env!("CARGO_BIN_EXE_watchdog_forks");
const SIGPIPE: &str = env!("CARGO_BIN_EXE_watchdog_sigpipe");

// cases.md: "keepalive dropped, parent exits right after, child looks late / - / KeepaliveDropped, 10,000
// times"; pitfalls.md: "'dropped, then the parent exits' read late looks like 'parent exited'".
#[test]
fn dropped_and_exited_right_after_is_dropped_to_a_late_reader_10_000_times() {
    passes(TRIALS, "late");
}

#[test]
fn dropped_and_exited_right_after_is_dropped_to_an_early_reader_10_000_times() {
    passes(TRIALS, "early");
}

#[test]
fn dropped_released_and_exited_are_told_apart_in_10_000_random_trials() {
    passes(TRIALS, "random");
}

// cases.md: "Fork's copy of a Keepalive dropped / - / nothing told"; pitfalls.md: "a fork's copy of Keepalive is
// dropped and tells the child 'dropped'".

#[test]
fn copy_made_by_fork_tells_nothing_when_it_is_dropped() {
    passes(FORKS, "dropped");
}

// kernel-facts.md: "comparing getpid() fails across CLONE_NEWPID, where both can be 1".
#[test]
fn copy_made_by_fork_tells_nothing_where_both_are_pid_1() {
    passes(FORKS, "pid-namespace");
}

#[test]
fn copy_made_by_fork_cannot_release_or_hand_over() {
    passes(FORKS, "speaks");
}

#[test]
fn forked_process_can_make_a_link_of_its_own() {
    passes(FORKS, "own");
}

#[test]
fn copies_of_every_generation_are_inert_and_originals_are_not() {
    passes(FORKS, "generations");
}

#[test]
fn threads_may_make_the_first_links_at_once() {
    passes(FORKS, "racing");
}

// pitfalls.md: "writing the reason to a dead child raises SIGPIPE in the parent"; cases.md: "release to a dead
// child ... / no SIGPIPE".

#[test]
fn dead_child_raises_no_sigpipe_where_that_would_kill() {
    passes(SIGPIPE, "default");
}

#[test]
fn dead_child_raises_no_sigpipe_where_it_is_ignored() {
    passes(SIGPIPE, "ignored");
}

#[test]
fn dead_child_raises_no_sigpipe_where_it_is_handled() {
    passes(SIGPIPE, "handled");
}

#[test]
fn dead_child_leaves_no_sigpipe_pending_where_it_is_blocked() {
    passes(SIGPIPE, "blocked");
    passes(SIGPIPE, "blocked-default");
}

#[test]
fn sigpipe_that_was_pending_before_is_left_alone() {
    passes(SIGPIPE, "pending");
}

#[test]
fn other_pending_signals_are_left_alone() {
    passes(SIGPIPE, "others");
}

// Before Linux 6.18 there is no RWF_NOSIGNAL: the same promises hold by way of the signal mask.
#[test]
fn dead_child_raises_no_sigpipe_on_older_kernels_either() {
    for disposition in [
        "default",
        "ignored",
        "handled",
        "blocked",
        "blocked-default",
    ] {
        passes(SIGPIPE, &format!("old-{disposition}"));
    }
}

#[test]
fn pending_signals_are_left_alone_on_older_kernels_too() {
    passes(SIGPIPE, "old-pending");
    passes(SIGPIPE, "old-others");
}

#[test]
fn words_are_said_on_older_kernels_too() {
    passes(SIGPIPE, "old-word");
}
