//! What a status is worth before Linux 5.17, where a look at a zombie shows how its first thread
//! ended. personality(2) makes this kernel name an old release (2.6); what older kernels do besides
//! is theirs to show.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use pidfd_watcher::{Process, Signal, Watcher};
use workspace_tests::orders::Order;
use workspace_tests::{Dialogue, Held, Told, alone, namespace, seccomp, time_limit};

const UNAME26: libc::c_ulong = 0x002_0000;

/// From now on uname(2) names an old release to this process and its children.
fn pretend_to_be_old() {
    // SAFETY: a plain number.
    assert!(unsafe { libc::personality(UNAME26) } >= 0);
    assert!(namespace::kernel() < (5, 17));
}

fn waited_for(process: &Process) -> Option<ExitStatus> {
    let exit = process.wait_timeout(time_limit()).expect("poll");
    exit.expect("ends before the deadline").status
}

fn reaped(process: &Process) -> Option<ExitStatus> {
    process.clone().reap().expect("own child").status
}

#[test]
fn exit_code_before_linux_5_17_is_unknown_until_the_child_is_reaped() {
    alone!({
        pretend_to_be_old();
        for code in [0, 7, 255] {
            let held = Held::new();
            held.exit(code);
            assert_eq!(waited_for(held.process()), None);
            let status = Some(ExitStatus::from_raw(i32::from(code) << 8));
            assert_eq!(reaped(held.process()), status);
            assert_eq!(waited_for(held.process()), status, "and known from then on");
        }
    });
}

#[test]
fn exit_code_of_a_stranger_before_linux_5_17_is_unknown() {
    alone!({
        pretend_to_be_old();
        let mut parent = Dialogue::spawn(
            Command::new(env!("CARGO_BIN_EXE_proc_target"))
                .arg(Order::ParentOf { code: 5 }.argument()),
        );
        let pid = parent.hear().parse().expect("a pid");
        let process = Process::open(pidfd_watcher::Pid::from_raw(pid).expect("a pid"));
        let process = process.expect("open by pid");
        parent.order(&Order::EndChild);
        assert_eq!(waited_for(&process), None);
    });
}

#[test]
fn signal_that_ended_a_child_is_known_on_every_kernel() {
    alone!({
        pretend_to_be_old();
        for signal in [Signal::KILL, Signal::TERM, Signal::HUP] {
            let held = Held::new();
            held.process().send_signal(signal).expect("own child");
            let status = Some(ExitStatus::from_raw(signal.as_raw()));
            assert_eq!(waited_for(held.process()), status);
            assert_eq!(reaped(held.process()), status);
        }
    });
}

/// Whether there was a core dump is a thread's own there.
#[test]
fn signal_that_dumps_core_is_unknown_before_linux_5_17_unless_it_did() {
    alone!({
        pretend_to_be_old();
        let held = Held::new();
        held.process()
            .send_signal(Signal::ABORT)
            .expect("own child");
        let looked = waited_for(held.process());
        let status = reaped(held.process());
        assert_eq!(
            status.and_then(|status| status.signal()),
            Some(libc::SIGABRT)
        );
        let dumped = status.is_some_and(|status| status.core_dumped());
        assert_eq!(looked, status.filter(|_| dumped));
    });
}

#[test]
fn watcher_that_reaps_tells_the_exit_code_on_every_kernel() {
    alone!({
        pretend_to_be_old();
        let held = Held::new();
        let watcher = Watcher::new().expect("watcher");
        let (told, callback) = Told::pair();
        let process = held.process().clone();
        watcher
            .watch_and_reap(process, callback)
            .expect("own child");
        held.exit(9);
        assert_eq!(told.code(), Some(9));
    });
}

/// Linux 5.10 shows the first thread's 77 here.
#[test]
fn first_thread_that_ended_early_never_decides_the_status() {
    alone!({
        pretend_to_be_old();
        let mut fixture = Dialogue::spawn(
            Command::new(env!("CARGO_BIN_EXE_proc_target"))
                .arg(Order::LeaderFirst { code: 42 }.argument()),
        );
        let process = Process::from_child(fixture.child()).expect("own child");
        assert_eq!(fixture.hear(), "leader gone");
        fixture.hang_up();
        assert_eq!(waited_for(&process), None);
        let code = reaped(&process).and_then(|status| status.code());
        assert_eq!(code, Some(42));
    });
}

#[test]
fn release_that_a_filter_hides_counts_as_an_old_one() {
    alone!({
        let held = Held::new();
        for errno in [libc::EPERM, libc::ENOSYS] {
            seccomp::refuse(&[(libc::SYS_uname, errno)]);
        }
        held.exit(3);
        assert_eq!(waited_for(held.process()), None);
        assert_eq!(
            reaped(held.process()).and_then(|status| status.code()),
            Some(3)
        );
    });
}

/// No look has told the status there, so the one that loses the race has it from the one that
/// reaps.
#[test]
fn clones_that_reap_at_once_before_linux_5_17_all_have_the_status() {
    alone!({
        pretend_to_be_old();
        // As on a kernel that tells nothing of a process that was reaped: before Linux 6.15.
        seccomp::refuse(&[(libc::SYS_ioctl, libc::ENOTTY)]);
        for round in 0..1_000 {
            let held = Held::new();
            held.exit(6);
            assert_eq!(waited_for(held.process()), None);
            let start = std::sync::Barrier::new(3);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        start.wait();
                        let code = reaped(held.process()).and_then(|status| status.code());
                        assert_eq!(code, Some(6), "round {round}");
                    });
                }
            });
        }
    });
}

#[test]
fn owner_and_watcher_that_reap_at_once_before_linux_5_17_both_have_the_status() {
    alone!({
        pretend_to_be_old();
        seccomp::refuse(&[(libc::SYS_ioctl, libc::ENOTTY)]);
        let watcher = Watcher::new().expect("watcher");
        for round in 0..1_000 {
            let held = Held::new();
            let (told, callback) = Told::pair();
            watcher
                .watch_and_reap(held.process().clone(), callback)
                .expect("own child");
            held.exit(7);
            waited_for(held.process());
            let code = reaped(held.process()).and_then(|status| status.code());
            assert_eq!((code, told.code()), (Some(7), Some(7)), "round {round}");
        }
    });
}
