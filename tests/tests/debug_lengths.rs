//! `Debug` of every public type is a line or two, however much the process watches, holds and
//! spawns: it goes into logs, and into the message of every failed `expect`.

use std::cell::Cell;
use std::fmt::Debug;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Arc;

use fd_preserve::{ErrorChannel, FdPlan, PreserveFds};
use pidfd_watcher::{Process, Watcher};
use shim_spawner::{
    ShimHandler, ShimIdentity, ShimSpawner, SpawnedShim, Stdio, StopPolicy, shim_config,
};
use watchdog_pipe::{Keepalive, Watchdog};
use workspace_tests::fork::Fork;
use workspace_tests::{Guard, alone};

/// Two lines of a log, in bytes.
const LINES: usize = 450;

#[track_caller]
fn is_short(value: &impl Debug) {
    let text = format!("{value:?}");
    assert!(text.len() <= LINES, "{} bytes: {:.400}", text.len(), text);
}

/// A child that ends with its standard input.
fn cat() -> Guard {
    let mut command = Command::new("cat");
    Guard::spawn(command.stdin(std::process::Stdio::piped()))
}

fn spawned() -> SpawnedShim {
    let mut spawner = ShimSpawner::new("cat");
    spawner.stdin(Stdio::piped()).stdout(Stdio::null());
    spawner.spawn().expect("spawn")
}

#[test]
fn types_of_pidfd_watcher_print_a_line_or_two() {
    let mut child = cat();
    let process = Process::from_child(&mut child).expect("own child");
    let watcher = Watcher::new().expect("a watcher");
    let watch = || watcher.watch(&process, |_| {}).expect("watch");
    let handles: Vec<_> = (0..1000).map(|_| watch()).collect();
    is_short(&process);
    is_short(&watcher);
    is_short(&Watcher::global().expect("a watcher"));
    is_short(&pidfd_watcher::Builder::new());
    is_short(&handles[0]);
    is_short(&watcher.exited(&process));
    is_short(&process.exited());
    is_short(&process.clone().reap().expect_err("it lives"));
    drop(child);
    is_short(&process.wait().expect("wait"));
}

#[test]
fn types_of_watchdog_pipe_print_a_line_or_two_in_the_parent() {
    let links: Vec<_> = (0..100)
        .map(|_| watchdog_pipe::channel().expect("a link"))
        .collect();
    // The last knows of all that came before.
    for (keepalive, setup) in [&links[0], &links[99]] {
        is_short(keepalive);
        is_short(setup);
        is_short(&keepalive.guarantees());
    }
    is_short(&watchdog_pipe::Builder::new().stop_policy(StopPolicy::new()));
    is_short(&StopPolicy::new());
    let file = File::open("/dev/null").expect("a file");
    is_short(&Keepalive::from_fd(file.into()).expect_err("no pipe"));
}

#[test]
fn types_of_watchdog_pipe_print_a_line_or_two_in_the_child() {
    alone!({
        let (keepalive, mut setup) = watchdog_pipe::channel().expect("a link");
        let numbers: Vec<_> = setup.fds().map(|(fd, _)| fd.as_raw_fd()).collect();
        setup.renumber_each(numbers);
        let (name, value) = setup.env();
        // Borrowed by the copy: this process holds its own until the copy has ended.
        let keepalive = Cell::new(Some(keepalive));
        let mut child = Fork::run(|| {
            // The copies: the watchdog must not hold a writer, and adopts the numbers of the setup.
            drop(keepalive.take());
            std::mem::forget(setup);
            // SAFETY: this copy has one thread, and nothing in it owns the numbers any more.
            let watchdog = unsafe {
                std::env::set_var(name, "damaged");
                is_short(&Watchdog::from_env().expect_err("damaged"));
                std::env::set_var(name, value);
                Watchdog::from_env().expect("a link").expect("a watchdog")
            };
            is_short(&watchdog);
            let monitor = watchdog.enforce(StopPolicy::new()).expect("a thread");
            is_short(&monitor);
        });
        assert!(child.wait().success());
    });
}

#[test]
fn types_of_fd_preserve_print_a_line_or_two() {
    let null = || File::open("/dev/null").expect("a file");
    let mut others = Command::new("true");
    let mut plan = PreserveFds::new();
    for number in 100..150 {
        plan.map_fd(null(), number).expect("a number");
    }
    let _applied = plan.apply(&mut others).expect("apply");

    let mut fds = PreserveFds::new();
    fds.map_fd(null(), 40).expect("a number");
    is_short(&fds);
    is_short(&fds.map_fd(null(), 40).expect_err("twice"));
    is_short(&FdPlan::resolve([(3, 4), (4, 3)]).expect("a plan"));
    let mut command = Command::new("true");
    is_short(&fds.apply(&mut command).expect("apply"));
    let mut fds = PreserveFds::new();
    fds.map_fd(null(), 41).expect("a number");
    is_short(&fds.prepare(ErrorChannel::Socket).expect("prepare"));
}

#[test]
fn types_of_shim_spawner_print_a_line_or_two() {
    let shim = spawned();
    let process = shim.child.process().clone();
    // What the process-wide watcher has to do besides.
    let watch = || Watcher::global()?.watch(&process, |_| {});
    let handles: Vec<_> = (0..1000).map(|_| watch().expect("watch")).collect();
    is_short(&shim);
    is_short(&shim.child);
    is_short(&shim.keepalive);
    let mut handler = ShimHandler::new(shim);
    is_short(&handler);
    is_short(&handler.exited());
    is_short(&handler.identity().expect("alive"));
    drop(handles);
    handler.kill().expect("kill");
    is_short(&handler.stop().expect("stop"));
    is_short(&handler.identity().expect_err("reaped"));

    let shared = Arc::new(File::open("/dev/null").expect("a file").into());
    let mut spawner = ShimSpawner::new("/no/such/program");
    spawner
        .arg("--box=7")
        .stdin(Stdio::null())
        .map_shared_fd(shared, 40);
    is_short(&spawner);
    is_short(&spawner.spawn().expect_err("missing"));
    is_short(&Stdio::piped());
    is_short(&"shim".parse::<ShimIdentity>().expect_err("no identity"));
    // SAFETY: no variable, no number.
    is_short(&unsafe { shim_config() });
}

#[test]
fn spawner_with_ten_thousand_arguments_and_descriptors_prints_a_line_or_two() {
    let null: Arc<_> = Arc::new(File::open("/dev/null").expect("a file").into());
    let mut spawner = ShimSpawner::new("/usr/libexec/shim");
    spawner.args((0..10_000).map(|n| format!("--box={n}")));
    for number in 3..10_000 {
        spawner.map_shared_fd(Arc::clone(&null), number);
    }
    is_short(&spawner);
}
