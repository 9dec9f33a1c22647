//! An interrupted bench leaves no child behind.

use std::process::Command;

use pidfd_watcher::Process;
use rustix::process::Pid;
use workspace_tests::{Dialogue, time_limit};

/// Interrupts a process that holds sleepers in a group of their own, which ^C of a terminal does
/// not reach.
#[test]
fn sleepers_end_with_the_process_that_was_interrupted() {
    let mut bench = Dialogue::spawn(&mut Command::new(env!("CARGO_BIN_EXE_bench_sleepers")));
    let sleepers: Vec<Process> = bench
        .hear()
        .split(' ')
        .map(|pid| Pid::from_raw(pid.parse().expect("a number")).expect("a pid"))
        // They live for as long as we do not interrupt: the numbers are theirs.
        .map(|pid| Process::open(pid).expect("alive"))
        .collect();
    assert_eq!(sleepers.len(), 3);
    let pid = Pid::from_child(bench.child());
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("own child");
    let status = bench.child().wait_deadline();
    assert!(!status.success(), "{status}");
    let asleep = sleepers.iter().filter(|sleeper| {
        let ended = sleeper.wait_timeout(time_limit()).expect("wait");
        // A test that fails leaves none either.
        let _ = sleeper.send_signal(pidfd_watcher::Signal::KILL);
        ended.is_none()
    });
    assert_eq!(asleep.count(), 0, "sleep on");
}
