//! How a process ended: exact, or unknown, never invented.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};

use pidfd_watcher::{Error, Pid, Process, Signal};
use workspace_tests::namespace::looked_at;
use workspace_tests::orders::Order;
use workspace_tests::target::target;
use workspace_tests::{Dialogue, Folder, Guard, signals, time_limit, until};

/// Waits under the deadline, and returns the status.
fn ended(process: &Process) -> Option<ExitStatus> {
    let exit = process
        .wait_timeout(time_limit())
        .expect("poll")
        .expect("ends before the deadline");
    assert_eq!(exit.pid, process.pid());
    exit.status
}

/// Whether the status of a process that somebody else reaped can be known: Linux 6.15.
fn kernel_tells_of_reaped() -> bool {
    workspace_tests::namespace::kernel() >= (6, 15)
}

/// What may be said of a process that ended with `raw` and was reaped behind our back.
fn assert_right_after_reaping(status: Option<ExitStatus>, raw: i32) {
    if kernel_tells_of_reaped() {
        assert_eq!(status, Some(ExitStatus::from_raw(raw)));
    } else {
        assert!(
            status.is_none() || status == Some(ExitStatus::from_raw(raw)),
            "{status:?}"
        );
    }
}

/// A process that is no child of ours, and its parent who does what we say.
fn grandchild(code: i32) -> (Dialogue, Process) {
    let mut parent = Dialogue::spawn(&mut target(&Order::ParentOf { code }));
    let pid = Pid::from_raw(parent.hear().parse().expect("a pid")).expect("a pid");
    let process = Process::open(pid).expect("open by pid");
    (parent, process)
}

#[test]
fn every_exit_code_is_exact() {
    for code in 0..=255 {
        let mut child = Guard::spawn(&mut target(&Order::Exit { code }));
        let process = Process::from_child(&mut child).expect("own child");
        let status = ended(&process);
        let witness = child.wait_deadline();
        assert_eq!((witness.code(), witness.signal()), (Some(code), None));
        assert_eq!(
            status,
            looked_at(witness),
            "the owner reads the same afterwards"
        );
    }
}

#[test]
fn every_terminating_signal_is_exact() {
    // The default action of these is not to terminate: signal(7).
    let harmless = [
        libc::SIGCHLD,
        libc::SIGCONT,
        libc::SIGSTOP,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
        libc::SIGURG,
        libc::SIGWINCH,
    ];
    // 32 and 33 are the C library's own.
    let signals = (1..=31)
        .filter(|signal| !harmless.contains(signal))
        .chain(34..=64);
    for signal in signals {
        let mut child = Guard::spawn(&mut target(&Order::Raise { signal }));
        let process = Process::from_child(&mut child).expect("own child");
        let told = ended(&process);
        let witness = child.wait_deadline();
        assert_eq!((witness.code(), witness.signal()), (None, Some(signal)));
        assert!(!witness.core_dumped(), "no core was allowed");
        // Whether there was a dump would be the first thread's own before Linux 5.17.
        let expected = if signals::dumps_core(signal) {
            looked_at(witness)
        } else {
            Some(witness)
        };
        assert_eq!(told, expected);
    }
}

#[test]
fn core_dump_is_told() {
    let folder = Folder::new();
    let mut command = target(&Order::DumpCore {
        signal: libc::SIGABRT,
    });
    let mut child = Guard::spawn(command.current_dir(folder.path()).stderr(Stdio::null()));
    let process = Process::from_child(&mut child).expect("own child");
    let told = ended(&process);
    let witness = child.wait_deadline();
    let after = ended(&process);
    let told_before_the_reaping = if witness.core_dumped() {
        Some(witness)
    } else {
        looked_at(witness)
    };
    assert_eq!(told, told_before_the_reaping);
    assert_eq!(after, told);
    if !witness.core_dumped() {
        eprintln!("skipped: this system writes no core (core_pattern, limits)");
    }
}

#[test]
fn zombie_is_told_and_stays_a_zombie() {
    let mut child = Guard::spawn(&mut target(&Order::Exit { code: 7 }));
    let pid = child.id().cast_signed();
    until("zombie", || {
        (workspace_tests::proc_fs::stat(pid)?.state == 'Z').then_some(())
    });
    let process = Process::from_child(&mut child).expect("a zombie is still ours");
    for _ in 0..3 {
        let exit = process.try_wait().expect("poll").expect("has exited");
        assert_eq!(exit.status.and_then(|status| status.code()), looked_at(7));
    }
    process
        .send_signal(Signal::KILL)
        .expect("a zombie takes any signal");
    assert_eq!(child.wait_deadline().code(), Some(7));
}

#[test]
fn status_of_a_child_reaped_by_someone_else_is_right_or_unknown() {
    for (order, raw) in [
        (Order::Exit { code: 0 }, 0),
        (Order::Exit { code: 3 }, 3 << 8),
        (Order::Raise { signal: 9 }, 9),
    ] {
        let mut child = Guard::spawn(&mut target(&order));
        let process = Process::from_child(&mut child).expect("own child");
        child.wait_deadline();
        assert_right_after_reaping(ended(&process), raw);
        let Err(Error::NotFound(_)) = process.send_signal(Signal::KILL) else {
            panic!("a reaped process takes no signal");
        };
    }
}

#[test]
fn status_once_learned_outlives_the_zombie() {
    let mut child = Guard::spawn(&mut target(&Order::Exit { code: 9 }));
    let process = Process::from_child(&mut child).expect("own child");
    let learned = ended(&process);
    child.wait_deadline();
    assert_eq!(learned.and_then(|status| status.code()), looked_at(9));
    assert_eq!(ended(&process), learned);
    assert_eq!(ended(&process.clone()), learned);
}

#[test]
fn stranger_that_lives_has_no_status() {
    let (_parent, process) = grandchild(0);
    assert_eq!(process.try_wait().expect("poll"), None);
}

#[test]
fn status_of_a_stranger_is_known_while_it_is_a_zombie() {
    for code in [0, 5, 255] {
        let (mut parent, process) = grandchild(code);
        parent.order(&Order::EndChild);
        // Read in /proc with the permission that a test has over its own processes.
        assert_eq!(
            ended(&process).and_then(|status| status.code()),
            looked_at(code)
        );
    }
}

#[test]
fn status_of_a_stranger_that_was_reaped_is_right_or_unknown() {
    for code in [0, 5, 255] {
        let (mut parent, process) = grandchild(code);
        parent.order(&Order::EndChild);
        parent.order(&Order::ReapChild);
        assert_eq!(parent.hear(), "reaped");
        assert_right_after_reaping(ended(&process), code << 8);
    }
}

#[test]
fn stranger_is_not_ours_to_reap() {
    let (mut parent, process) = grandchild(1);
    parent.order(&Order::EndChild);
    ended(&process);
    let failed = process.reap().expect_err("no child of ours");
    assert!(matches!(failed.error, Error::NotChild(_)), "{failed}");
    assert_eq!(failed.error.raw_os_error(), Some(libc::ECHILD));
    assert_eq!(
        ended(&failed.process).and_then(|status| status.code()),
        looked_at(1)
    );
}

#[test]
fn leading_thread_that_ends_first_is_no_exit() {
    let mut fixture = Dialogue::spawn(&mut target(&Order::LeaderFirst { code: 42 }));
    let process = Process::from_child(fixture.child()).expect("own child");
    assert_eq!(fixture.hear(), "leader gone");
    assert_eq!(
        process.try_wait().expect("poll"),
        None,
        "a thread still runs"
    );
    let failed = process.reap().expect_err("a thread still runs");
    assert!(matches!(failed.error, Error::NotReady(_)), "{failed}");

    let process = failed.process;
    fixture.hang_up();
    // The leader's own code was 77; the process ended with 42.
    assert_eq!(
        ended(&process).and_then(|status| status.code()),
        looked_at(42)
    );
    fixture.child().wait_deadline();
    let late = Process::open(process.pid());
    assert!(late.is_err() || late.is_ok_and(|other| other.try_wait().is_ok()));
}

#[test]
fn status_of_a_reaped_process_whose_leader_ended_first_is_that_of_the_process() {
    let mut fixture = Dialogue::spawn(&mut target(&Order::LeaderFirst { code: 42 }));
    let process = Process::from_child(fixture.child()).expect("own child");
    assert_eq!(fixture.hear(), "leader gone");
    fixture.hang_up();
    fixture.child().wait_deadline();
    assert_right_after_reaping(ended(&process), 42 << 8);
}

#[test]
fn traced_child_that_dies_is_told_at_once_and_reaped_when_the_tracer_lets_go() {
    let mut victim = Dialogue::spawn(&mut target(&Order::ExitAtEof { code: 11 }));
    let process = Process::from_child(victim.child()).expect("own child");
    let mut tracer = Dialogue::spawn(&mut target(&Order::Trace {
        pid: process.pid().as_raw_nonzero().get(),
    }));
    let said = tracer.hear();
    if said != "tracing" {
        eprintln!("skipped: no permission to trace a sibling here ({said})");
        return;
    }
    victim.hang_up();

    // Readable, though waitid finds nothing: the status comes from /proc.
    assert_eq!(
        ended(&process).and_then(|status| status.code()),
        looked_at(11)
    );
    assert!(
        victim.child().try_wait().expect("waitpid").is_none(),
        "the tracer holds it"
    );
    let failed = process.reap().expect_err("the tracer holds it");
    assert!(matches!(failed.error, Error::NotReady(_)), "{failed}");

    tracer.hang_up();
    tracer.child().wait_deadline();
    let process = failed.process;
    let exit = until("reaped", || process.clone().reap().ok());
    assert_eq!(exit.status.and_then(|status| status.code()), Some(11));
}
