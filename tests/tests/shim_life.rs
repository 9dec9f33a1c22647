//! Whose life hangs on whose.
//!
//! No other path can end a box in these tests: it has a group of its own, reads no stream, and
//! nobody but its own watchdog sends it a signal.

use std::process::Stdio;

use pidfd_watcher::{Pid, Process, Signal};
use shim_spawner::{ShimHandler, ShimIdentity};
use workspace_tests::orders::Order;
use workspace_tests::{Dialogue, Guard, time_limit};

const BOX: &str = env!("CARGO_BIN_EXE_shim_box");

const RUNTIME: &str = env!("CARGO_BIN_EXE_shim_runtime");

/// A process that is not ours: killed when the test ends, however it does.
struct Stranger(Process);

impl Stranger {
    fn of(runtime: &mut Dialogue, detached: bool) -> Stranger {
        runtime.order(&Order::StartBox { detached });
        let pid = runtime.hear().trim().parse().expect("a pid");
        let pid = Pid::from_raw(pid).expect("a positive pid");
        Stranger(Process::open(pid).expect("the box is up"))
    }

    fn is_told(&self) {
        let exit = self.0.wait_timeout(time_limit()).expect("wait");
        assert!(exit.is_some(), "the box lives on");
    }

    fn lives(&self) -> bool {
        self.0.try_wait().expect("wait").is_none()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.send_signal(Signal::KILL);
    }
}

fn runtime() -> Dialogue {
    Dialogue::spawn(
        &mut Order::StartBoxes {
            program: BOX.into(),
        }
        .to(RUNTIME),
    )
}

fn killed(runtime: &mut Dialogue) {
    runtime.child().kill().expect("own child");
    runtime.child().wait_deadline();
}

fn ended(runtime: &mut Dialogue) {
    runtime.hang_up();
    assert!(runtime.child().wait_deadline().success());
}

/// Alive, and ended by our own SIGTERM alone: the runtime that adopts it stops it.
fn is_stopped_by_its_next_runtime(detached: &Stranger) {
    assert!(detached.lives());
    let identity = ShimIdentity::of(&detached.0).expect("alive");
    let mut handler = ShimHandler::adopt(&identity).expect("the same process");
    let exit = handler.stop().expect("stop").exit();
    if let Some(status) = exit.status {
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(status.signal(), Some(libc::SIGTERM));
    }
    assert!(!detached.lives());
}

#[test]
fn non_detached_box_exits_on_runtime_drop() {
    let mut runtime = runtime();
    let attached = Stranger::of(&mut runtime, false);
    assert!(attached.lives());
    runtime.order(&Order::DropBoxes);
    assert_eq!(runtime.hear().trim(), "dropped");
    attached.is_told();
    ended(&mut runtime);
}

#[test]
fn non_detached_box_exits_on_runtime_kill() {
    let mut runtime = runtime();
    let attached = Stranger::of(&mut runtime, false);
    assert!(attached.lives());
    killed(&mut runtime);
    attached.is_told();
}

#[test]
fn detached_box_survives_runtime_drop() {
    let mut runtime = runtime();
    let detached = Stranger::of(&mut runtime, true);
    let attached = Stranger::of(&mut runtime, false);
    runtime.order(&Order::DropBoxes);
    assert_eq!(runtime.hear().trim(), "dropped");
    ended(&mut runtime);
    // Its twin has been told: what could have reached the detached one has had its time.
    attached.is_told();
    is_stopped_by_its_next_runtime(&detached);
}

#[test]
fn detached_box_survives_runtime_kill() {
    let mut runtime = runtime();
    let detached = Stranger::of(&mut runtime, true);
    let attached = Stranger::of(&mut runtime, false);
    killed(&mut runtime);
    attached.is_told();
    is_stopped_by_its_next_runtime(&detached);
}

#[test]
fn one_dropped_handler_does_not_concern_the_boxes_of_another_runtime() {
    let (mut first, mut second) = (runtime(), runtime());
    let theirs = Stranger::of(&mut second, false);
    let ours = Stranger::of(&mut first, false);
    killed(&mut first);
    ours.is_told();
    assert!(theirs.lives());
    killed(&mut second);
    theirs.is_told();
}

#[test]
fn runtime_killed_at_random_instants_leaves_no_orphan_and_no_zombie() {
    const ROUNDS: u32 = 2_000;
    let order = Order::KillChurning {
        runtime: RUNTIME.into(),
        program: BOX.into(),
        rounds: ROUNDS,
    };
    let mut command = order.to(env!("CARGO_BIN_EXE_shim_killer"));
    let mut killer = Guard::spawn(command.stdin(Stdio::null()));
    // Each round has a deadline of its own, inside.
    assert!(killer.wait().expect("own child").success());
}
