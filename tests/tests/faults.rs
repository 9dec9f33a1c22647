//! Faults that are injected into system calls of our operations: a bounded part of what `cargo
//! xtask stress faults` does, and what that has found.

use workspace_tests::alone;
use workspace_tests::faults::wish::Wish;
use workspace_tests::namespace::run_inside;
use workspace_tests::orders::Order;

const FAULTS: &str = env!("CARGO_BIN_EXE_fault_cases");

/// Runs them in a PID namespace of their own: each does what it should.
fn inject(wish: Wish) {
    let wish = Wish {
        terse: true,
        ..wish
    };
    run_inside(&mut Order::InjectFaults(wish).to(FAULTS));
}

#[test]
fn fault_of_any_call_ends_in_success_a_documented_fallback_or_a_typed_error() {
    alone!({
        inject(Wish {
            seconds: Some(20),
            ..Wish::default()
        });
    });
}

/// A test for those whose names begin so.
macro_rules! found {
    ($($case:ident: $only:literal;)*) => {$(
        #[test]
        fn $case() {
            alone!({
                inject(Wish {
                    only: Some($only.to_owned()),
                    ..Wish::default()
                });
            });
        }
    )*};
}

found! {
    signal_that_outer_could_not_pass_on_is_passed_on_later: "shim-stop-none:1:sendto:1:";
    report_that_could_not_be_written_is_written_again: "shim-stop-subreaper:3:write:";
    report_is_made_where_it_could_not_be_seen_whether_there_is_room: "shim-stop-none:3:ppoll:";
    tree_that_could_not_be_read_gets_the_stop_signal: "shim-stop-subreaper:3:getdents64:";
    cgroup_that_could_not_be_read_gets_the_stop_signal: "shim-stop-cgroup:4:openat:4:";
    descriptor_that_could_not_be_looked_at_is_refused_with_the_errno: "shim-start-none:1:fcntl:5:";
    parent_that_could_not_be_opened_is_told_with_the_errno: "shim-start-none:1:pidfd_open:";
    member_that_could_not_be_read_is_not_one_that_is_gone: "stop-group-deaf:0:openat:11:";
    watch_that_could_not_be_deleted_is_in_no_ones_way: "watch-cancel:0:epoll_ctl:2:";
    watcher_without_memory_for_its_thread_is_an_error: "watch-future:2:mmap:";
    child_that_is_said_to_be_none_keeps_nobody_waiting: "spawn-detached-clone3:0:waitid:1:ECHILD";
}
