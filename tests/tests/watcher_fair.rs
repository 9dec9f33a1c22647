//! Nobody's callbacks keep another process's callbacks from running.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pidfd_watcher::{Process, Watcher};
use workspace_tests::namespace::looked_at;
use workspace_tests::{Held, Told};

/// A callback that watches its own dead process again, and again, until it is told to stop.
fn churn(watcher: &Watcher, process: &Process, stop: &Arc<AtomicBool>) {
    let (again, own, stopped) = (watcher.clone(), process.clone(), Arc::clone(stop));
    let callback = move |_| {
        if !stopped.load(Ordering::Relaxed) {
            churn(&again, &own, &stopped);
        }
    };
    watcher.watch(process, callback).expect("watch");
}

#[test]
fn processes_that_are_watched_again_and_again_starve_nobody() {
    let watcher = Watcher::new().expect("watcher");
    let (dead, child) = (Held::new(), Held::new());
    dead.kill();
    dead.process().wait().expect("own child");
    let stop = Arc::new(AtomicBool::new(false));
    let (told, _) = Told::by(&watcher, child.process());
    for _ in 0..10 {
        churn(&watcher, dead.process(), &stop);
    }
    child.exit(1);
    let code = told.code();
    stop.store(true, Ordering::Relaxed);
    assert_eq!(code, looked_at(1));
}

#[test]
fn ten_thousand_children_that_end_at_once_are_told_once_each_while_ten_others_churn() {
    workspace_tests::scenario::passes(env!("CARGO_BIN_EXE_watcher_storm"), "storm");
}
