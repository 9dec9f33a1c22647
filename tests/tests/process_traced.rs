//! Processes that are traced by the one that holds the handle: waitid(2) tells a tracer of stops,
//! too.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use pidfd_watcher::{Error, Exit, Pid, Process, Signal, Watcher};
use workspace_tests::fork::{Cue, Fork};
use workspace_tests::namespace::looked_at;
use workspace_tests::orders::Order;
use workspace_tests::{Dialogue, Told, alone, time_limit, until};

fn target() -> Command {
    Command::new(env!("CARGO_BIN_EXE_proc_target"))
}

/// A child that has asked to be traced and stopped itself. It ends with 9 when it is let go.
fn stopped_tracee() -> Process {
    // SAFETY: the caller has one thread; what the child calls is async-signal-safe.
    let child = unsafe {
        Process::fork(|| {
            if libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) != 0 {
                return 1;
            }
            libc::raise(libc::SIGSTOP);
            9
        })
    };
    let child = child.expect("fork");
    until("a stop", || {
        (stop_of(&child, libc::WNOWAIT) == Some(libc::SIGSTOP)).then_some(())
    });
    child
}

/// The signal of a ptrace stop that waits to be collected; without `WNOWAIT` it is collected.
fn stop_of(child: &Process, option: i32) -> Option<i32> {
    // SAFETY: a structure of integers, for which zeros are a value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WSTOPPED | libc::WNOHANG | option;
    // SAFETY: `info` has room for what is written.
    let done = unsafe { libc::waitid(libc::P_PID, number(child), &raw mut info, options) };
    assert_eq!(done, 0, "waitid: {}", std::io::Error::last_os_error());
    // SAFETY: waitid succeeded and filled the part of a child in, or left zeros.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    (pid != 0).then_some(status)
}

fn code(exit: Exit) -> Option<i32> {
    exit.status.and_then(|status| status.code())
}

fn number(process: &Process) -> libc::id_t {
    process.pid().as_raw_nonzero().get().unsigned_abs()
}

fn ptrace(request: libc::c_uint, process: &Process) {
    // SAFETY: neither request takes a pointer.
    let done = unsafe { libc::ptrace(request, number(process), 0, 0) };
    assert_eq!(done, 0, "ptrace: {}", std::io::Error::last_os_error());
}

#[test]
fn reaping_a_tracee_that_lives_leaves_its_stop_to_the_tracer() {
    alone!({
        let child = stopped_tracee();
        let watcher = Watcher::new().expect("watcher");
        for _ in 0..3 {
            let failed = child.clone().reap().expect_err("it lives");
            assert!(matches!(failed.error, Error::NotReady(_)), "{failed}");
            assert_eq!(failed.error.raw_os_error(), Some(libc::EAGAIN));
            assert_eq!(child.try_wait().expect("poll"), None);
        }
        let (told, callback) = Told::pair();
        watcher
            .watch_and_reap(child.clone(), callback)
            .expect("a child of ours");
        assert_eq!(stop_of(&child, 0), Some(libc::SIGSTOP), "the tracer's stop");
        ptrace(libc::PTRACE_CONT, &child);
        assert_eq!(told.code(), Some(9));
    });
}

#[test]
fn stop_of_a_tracee_is_no_exit_status() {
    alone!({
        let child = stopped_tracee();
        assert_eq!(child.try_wait().expect("poll"), None);
        ptrace(libc::PTRACE_CONT, &child);
        let exit = child
            .wait_timeout(time_limit())
            .expect("poll")
            .expect("exit");
        assert_eq!(code(exit), looked_at(9));
        assert_eq!(code(child.reap().expect("own child")), Some(9));
    });
}

#[test]
fn tracee_that_is_killed_while_it_is_stopped_is_reaped_with_that_status() {
    alone!({
        let child = stopped_tracee();
        child.send_signal(Signal::KILL).expect("own child");
        let exit = child
            .wait_timeout(time_limit())
            .expect("poll")
            .expect("exit");
        let signal = exit.status.and_then(|status| status.signal());
        assert_eq!(signal, Some(libc::SIGKILL));
        assert_eq!(child.clone().reap().expect("own child"), exit);
        let gone = Process::open(child.pid()).expect_err("the number is free");
        assert!(matches!(gone, Error::NotFound(_)), "{gone}");
    });
}

/// To waitid(2) a tracee is like a child: whoever traces it learns how it ended, and its parent
/// reaps it afterwards.
#[test]
fn reaping_a_tracee_of_another_parent_lets_go_of_it_and_leaves_it_to_that_parent() {
    alone!({
        let mut parent = Dialogue::spawn(target().arg(Order::ParentOf { code: 6 }.argument()));
        let pid = Pid::from_raw(parent.hear().parse().expect("a pid")).expect("a pid");
        let process = Process::open(pid).expect("open by pid");
        // SAFETY: PTRACE_SEIZE with no options takes no pointer.
        let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, number(&process), 0, 0) };
        if seized != 0 {
            let error = std::io::Error::last_os_error();
            eprintln!("skipped: no permission to trace a grandchild here ({error})");
            return;
        }
        parent.order(&Order::EndChild);
        let exit = process
            .wait_timeout(time_limit())
            .expect("poll")
            .expect("exit");
        assert_eq!(code(exit), looked_at(6));
        assert_eq!(code(process.clone().reap().expect("traced by us")), Some(6));
        assert!(
            Process::open(process.pid()).is_ok(),
            "still a zombie of its parent"
        );
        parent.order(&Order::ReapChild);
        assert_eq!(parent.hear(), "reaped");
    });
}

/// Field 52 of /proc/PID/stat is the first thread's as long as others live.
#[test]
fn reaping_a_stranger_whose_first_thread_ended_teaches_no_wrong_status() {
    alone!({
        let mut fixture = Dialogue::spawn(target().arg(Order::LeaderFirst { code: 42 }.argument()));
        let process = Process::from_child(fixture.child()).expect("own child");
        assert_eq!(fixture.hear(), "leader gone");
        let (mut ours, mut theirs) = Cue::pair();
        // To a copy made by fork the process is a stranger.
        let stranger = Fork::run(|| {
            fixture.hang_up();
            let failed = process.clone().reap().expect_err("no child of ours");
            assert!(matches!(failed.error, Error::NotChild(_)), "{failed}");
            theirs.give();
            let exit = process
                .wait_timeout(time_limit())
                .expect("poll")
                .expect("exit");
            assert_eq!(code(exit), looked_at(42));
        });
        ours.take();
        fixture.hang_up();
        stranger.succeeds();
        fixture.child().wait_deadline();
    });
}
