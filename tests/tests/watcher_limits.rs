//! A watcher that is refused something: a typed error, and nothing is left behind.

use workspace_tests::scenario;

#[track_caller]
fn passes(scenario: &str) {
    scenario::passes(env!("CARGO_BIN_EXE_watcher_limits"), scenario);
}

#[test]
fn without_descriptors_there_is_no_watcher_and_a_watch_needs_none() {
    passes("no-descriptor-left");
}

#[test]
fn refused_epoll_create_is_a_typed_error() {
    passes("epoll-create");
}

#[test]
fn refused_eventfd_is_a_typed_error() {
    passes("eventfd");
}

#[test]
fn refused_epoll_ctl_is_a_typed_error() {
    passes("epoll-ctl");
}

#[test]
fn refused_epoll_wait_is_a_typed_error_of_the_call_that_makes_the_watcher() {
    passes("epoll-wait");
}

#[test]
fn refused_thread_is_a_typed_error() {
    passes("thread");
}

#[test]
fn watch_limit_is_a_typed_error_and_what_is_watched_goes_on() {
    passes("no-watch-left");
}

#[test]
fn watch_limit_is_a_typed_error_of_a_new_watcher() {
    passes("no-watch-left-for-a-new-watcher");
}

#[test]
fn wait_that_is_refused_later_shuts_the_watcher_down() {
    passes("waiting-refused-later");
}

#[test]
fn limit_on_processes_is_a_typed_error() {
    passes("no-thread-left");
}

#[test]
fn status_that_a_reaping_told_is_kept_where_the_kernel_tells_it_no_more() {
    passes("kernel-tells-nothing-of-the-reaped");
}
