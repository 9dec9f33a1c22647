//! A parent, and a child that has adopted its watchdog, in a cast of their own.

use std::fs;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use workspace_tests::cast::{Actor, Cast};
use workspace_tests::orders::{Order, Spawn};
use workspace_tests::until;

/// A grace long enough to be measured, short enough to be waited for.
pub const GRACE: Duration = Duration::from_millis(300);

pub fn open() -> (Cast, Actor) {
    Cast::open(
        env!("CARGO_BIN_EXE_watchdog_reaper"),
        env!("CARGO_BIN_EXE_watchdog_parent"),
    )
}

/// A parent and its child, which has adopted its watchdog.
pub fn family() -> (Cast, Actor, Actor) {
    let (mut cast, mut parent) = open();
    parent.ask(&Order::Spawn(Spawn::new("child")));
    let mut child = cast.enter("child");
    child.must(&Order::Adopt);
    (cast, parent, child)
}

/// Kills the parent and waits for the child's end: its status, and how long that took at least.
pub fn outlived(cast: &mut Cast, parent: &Actor, child: &Actor) -> (ExitStatus, Duration) {
    let start = Instant::now();
    parent.kill();
    child.gone();
    (cast.ended(child), start.elapsed())
}

/// How a child ended whose parent lives and does not reap it: the reaper inherits it.
pub fn status_after(cast: &mut Cast, parent: &Actor, child: &Actor) -> ExitStatus {
    parent.kill();
    cast.ended(child)
}

/// Waits until the child has its main thread alone.
pub fn thread_has_ended(child: &Actor) {
    until("watchdog thread ends", || {
        let tasks = fs::read_dir(format!("/proc/{}/task", child.pid())).expect("tasks");
        (tasks.count() == 1).then_some(())
    });
}
