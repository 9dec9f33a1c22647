//! What a shim is told of its runtime's end, as its handles say: told, and no more than that.

use std::io::{BufRead, BufReader, Write};

use shim_spawner::{Guarantees, Keepalive, ShimHandler, ShimSpawner, Stdio};
use workspace_tests::{alone, time_limit};

/// A program that has no watchdog: it echoes its input until that ends.
fn cat() -> ShimSpawner {
    let mut spawner = ShimSpawner::new("cat");
    spawner.stdin(Stdio::piped()).stdout(Stdio::piped());
    spawner
}

#[test]
fn attached_program_without_a_watchdog_goes_on_when_its_handler_lets_go() {
    let mut shim = ShimHandler::new(cat().spawn().expect("spawn"));
    assert!(shim.is_attached());
    let process = shim.process().clone();
    let mut stdin = shim.take_stdin().expect("piped");
    let mut lines = BufReader::new(shim.take_stdout().expect("piped")).lines();
    drop(shim);
    writeln!(stdin, "still there").expect("it reads");
    assert_eq!(lines.next().expect("a line").expect("read"), "still there");
    drop(stdin);
    let exit = process.wait_timeout(time_limit()).expect("wait");
    assert!(exit.is_some(), "it ends with its input");
}

#[test]
fn guarantees_of_an_attached_shim_are_those_of_its_keepalive() {
    let shim = cat().spawn().expect("spawn");
    let keepalive = shim.keepalive.as_ref().expect("attached");
    let promised = keepalive.guarantees();
    assert!(promised.contains(Guarantees::END_IS_TOLD));
    assert_eq!(shim.guarantees(), promised);

    let mut handler = ShimHandler::new(shim);
    assert_eq!(handler.guarantees(), promised);
    // Handed over, it follows the pipe alone, whoever holds that.
    let handed = handler.take_keepalive().expect("attached").hand_over();
    assert_eq!(handler.guarantees(), Guarantees::empty());
    let keepalive = Keepalive::from_fd(handed.expect("a descriptor")).expect("a pipe");
    let mut handler = handler.attach(keepalive);
    assert_eq!(handler.guarantees(), Guarantees::END_IS_TOLD);
    handler.release().expect("it listens");
    assert_eq!(handler.guarantees(), Guarantees::empty());
    drop(handler.take_stdin());
    handler.wait().expect("wait");
}

/// The shim has ended, so that nobody reads the pipe any more.
#[test]
fn release_that_failed_leaves_the_handler_attached() {
    alone!({
        let mut shim = ShimHandler::new(cat().spawn().expect("spawn"));
        let promised = shim.guarantees();
        drop(shim.take_stdin());
        shim.process().wait().expect("wait");
        let error = shim.release().expect_err("nobody could be told");
        assert_eq!(error.raw_os_error(), Some(libc::EPIPE), "{error}");
        assert!(shim.is_attached());
        assert_eq!(shim.guarantees(), promised);
        shim.wait().expect("wait");
    });
}

#[test]
fn detached_shim_is_promised_nothing() {
    let shim = cat().detached(true).spawn().expect("spawn");
    assert_eq!(shim.guarantees(), Guarantees::empty());
    let mut handler = ShimHandler::new(shim);
    assert!(!handler.is_attached());
    assert_eq!(handler.guarantees(), Guarantees::empty());
    drop(handler.take_stdin());
    handler.wait().expect("wait");
}

#[test]
fn spawner_without_a_sentinel_starts_no_thread_and_promises_less() {
    alone!({
        let threads = || std::fs::read_dir("/proc/self/task").expect("tasks").count();
        let mut shim = cat().sentinel(false).spawn().expect("spawn");
        assert_eq!(shim.guarantees(), Guarantees::END_IS_TOLD);
        assert_eq!(threads(), 1);
        drop(shim.child.stdin.take());
        shim.child.process().wait().expect("wait");

        let mut shim = cat().spawn().expect("spawn");
        assert_eq!(shim.guarantees(), Guarantees::all());
        assert_eq!(threads(), 2);
        drop(shim.child.stdin.take());
        shim.child.process().wait().expect("wait");
    });
}
