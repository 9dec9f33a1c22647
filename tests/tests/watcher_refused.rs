//! A watcher under filters that refuse calls which std and rustix take for infallible.

use pidfd_watcher::Watcher;
use workspace_tests::{alone, seccomp};

#[test]
fn shutdown_sleeps_by_no_call_that_panics_when_it_is_refused() {
    alone!({
        seccomp::refuse(&[
            (libc::SYS_nanosleep, libc::EPERM),
            (libc::SYS_clock_nanosleep, libc::EPERM),
        ]);
        for _ in 0..2000 {
            let watcher = Watcher::new().expect("watcher");
            assert!(watcher.shutdown().expect("shut down").is_empty());
        }
    });
}
