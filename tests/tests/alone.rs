//! The helper that runs a case in a process of its own.

use std::panic::catch_unwind;

use workspace_tests::{alone, alone_in_pid_namespace};

#[test]
fn body_runs_in_another_process_with_one_thread() {
    let folder = std::env::current_dir().expect("a folder");
    alone!({
        std::env::set_current_dir("/").expect("a folder that is always there");
        let threads = std::fs::read_dir("/proc/self/task").expect("tasks").count();
        assert_eq!(threads, 1);
    });
    assert_eq!(std::env::current_dir().expect("a folder"), folder);
}

#[test]
fn body_that_ends_its_process_fails_the_test() {
    let failed = catch_unwind(|| alone!({ std::process::exit(3) }));
    let said = failed.expect_err("it failed");
    let said = said.downcast_ref::<String>().expect("a message");
    assert!(said.contains("exit status: 3"), "{said}");
}

#[test]
fn body_runs_as_pid_1_with_a_proc_of_its_own() {
    alone_in_pid_namespace!({
        assert_eq!(std::process::id(), 1);
        assert!(
            std::fs::read_link("/proc/self").is_ok_and(|pid| pid == *std::path::Path::new("1"))
        );
    });
}
