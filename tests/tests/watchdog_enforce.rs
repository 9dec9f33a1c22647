//! A child that has handed itself to its watchdog is gone when its parent is, whatever it does
//! against it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;
use workspace_tests::cast::Cast;
use workspace_tests::orders::{LONG, OnSigterm, Order, Spawn};
use workspace_tests::proc_fs::stat;
use workspace_tests::until;

use crate::family::{GRACE, family, open, outlived, status_after, thread_has_ended};

mod family;

/// The child prepares itself by `orders`, and is to be ended by SIGKILL once the grace is over.
fn dies_of_sigkill_after_the_grace(orders: &[Order]) {
    let (mut cast, parent, mut child) = family();
    child.must(&Order::enforce(libc::SIGTERM, GRACE));
    for order in orders {
        child.must(order);
    }
    let (status, elapsed) = outlived(&mut cast, &parent, &child);
    assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
    assert!(elapsed >= GRACE, "{elapsed:?}");
}

#[test]
fn child_is_asked_by_its_stop_signal_first() {
    let (mut cast, parent, mut child) = family();
    // So long a grace that nothing but the signal can have ended it.
    child.must(&Order::enforce(libc::SIGINT, LONG));
    let (status, _) = outlived(&mut cast, &parent, &child);
    assert_eq!(status.signal(), Some(libc::SIGINT), "{status}");
}

#[test]
fn dropped_keepalive_ends_the_child_as_a_death_does() {
    let (mut cast, mut parent, mut child) = family();
    child.must(&Order::enforce(libc::SIGTERM, LONG));
    parent.must(&Order::Drop { link: 0 });
    child.gone();
    assert_eq!(
        status_after(&mut cast, &parent, &child).signal(),
        Some(libc::SIGTERM)
    );
}

// Whatever the child does about SIGTERM: docs/pitfalls.md#a-deaf-child.

#[test]
fn child_that_blocks_sigterm_is_gone_after_the_grace() {
    let (mut cast, parent, mut child) = family();
    // Before the thread is made: the mask that it inherits is not what makes it deaf.
    child.must(&Order::OnSigterm(OnSigterm::Block));
    child.must(&Order::enforce(libc::SIGTERM, GRACE));
    let (status, elapsed) = outlived(&mut cast, &parent, &child);
    assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
    assert!(elapsed >= GRACE, "{elapsed:?}");
}

#[test]
fn child_that_ignores_sigterm_is_gone_after_the_grace() {
    dies_of_sigkill_after_the_grace(&[Order::OnSigterm(OnSigterm::Ignore)]);
}

#[test]
fn child_whose_handler_hangs_is_gone_after_the_grace() {
    dies_of_sigkill_after_the_grace(&[Order::OnSigterm(OnSigterm::Hang)]);
}

#[test]
fn child_whose_main_thread_is_deadlocked_is_gone_after_the_grace() {
    dies_of_sigkill_after_the_grace(&[Order::OnSigterm(OnSigterm::Ignore), Order::Deadlock]);
}

// No function runs at the exit: docs/pitfalls.md#a-deaf-child.
#[test]
fn child_whose_exit_function_hangs_is_gone_after_the_grace() {
    dies_of_sigkill_after_the_grace(&[Order::OnSigterm(OnSigterm::Ignore), Order::HangAtExit]);
}

#[test]
fn storm_of_handled_signals_neither_stops_nor_saves_an_enforced_child() {
    let (mut cast, mut parent, mut child) = family();
    child.must(&Order::OnSigterm(OnSigterm::Ignore));
    child.must(&Order::Handle {
        signal: libc::SIGUSR1,
    });
    child.must(&Order::enforce(libc::SIGTERM, Duration::ZERO));
    for _ in 0..1_000 {
        child.signal(Signal::USR1);
    }
    child.must(&Order::Answer);
    assert_ne!(child.ask(&Order::CountHandled), "0");
    parent.must(&Order::Drop { link: 0 });
    child.gone();
    assert_eq!(
        status_after(&mut cast, &parent, &child).signal(),
        Some(libc::SIGKILL)
    );
}

// Its own SIGTERM and SIGKILL do nothing (docs/pitfalls.md#pid-1): what is left is _exit, and
// nothing that runs at the exit.
#[test]
fn child_that_is_pid_1_ends_itself_by_exit() {
    let (mut cast, mut parent) = open();
    parent.must(&Order::UnsharePid);
    parent.ask(&Order::Spawn(Spawn::new("child")));
    let mut child = cast.enter("child");
    child.must(&Order::Adopt);
    assert_eq!(child.ask(&Order::TellPid), "1");
    child.must(&Order::HangAtExit);
    child.must(&Order::OnSigterm(OnSigterm::Ignore));
    child.must(&Order::enforce(libc::SIGTERM, GRACE));
    let (status, elapsed) = outlived(&mut cast, &parent, &child);
    assert_eq!(status.code(), Some(128 + libc::SIGKILL), "{status}");
    assert!(elapsed >= GRACE, "{elapsed:?}");
}

// As pid 1, with a handler: the signal does arrive there, and the grace is the handler's.
#[test]
fn stop_signal_reaches_a_pid_1_that_handles_it() {
    let (mut cast, mut parent) = open();
    parent.must(&Order::UnsharePid);
    parent.ask(&Order::Spawn(Spawn::new("child")));
    let mut child = cast.enter("child");
    child.must(&Order::Adopt);
    child.must(&Order::OnSigterm(OnSigterm::Count));
    child.must(&Order::enforce(libc::SIGTERM, LONG));
    parent.must(&Order::Drop { link: 0 });
    until("SIGTERM is handled", || {
        (child.ask(&Order::CountHandled) == "1").then_some(())
    });
    assert_eq!(child.ask(&Order::Cancel), "Some(KeepaliveDropped)");
    parent.kill();
    cast.ended(&parent);
    child.must(&Order::Answer);
}

#[test]
fn child_in_another_user_and_mount_namespace_is_gone() {
    let (mut cast, mut parent) = open();
    parent.ask(&Order::Spawn(
        Spawn::new("child").unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS),
    ));
    let mut child = cast.enter("child");
    for kind in ["user", "mnt"] {
        let ours = fs::read_link(format!("/proc/self/ns/{kind}")).expect("our namespace");
        let theirs = fs::read_link(format!("/proc/{}/ns/{kind}", child.pid()));
        assert_ne!(theirs.expect("the child's namespace"), ours);
    }
    child.must(&Order::Adopt);
    child.must(&Order::enforce(libc::SIGTERM, GRACE));
    child.must(&Order::OnSigterm(OnSigterm::Ignore));
    let (status, elapsed) = outlived(&mut cast, &parent, &child);
    assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
    assert!(elapsed >= GRACE, "{elapsed:?}");
}

/// The child program, owned by root and setuid.
fn setuid_child(cast: &Cast) -> PathBuf {
    let copy = cast.folder().join("setuid-child");
    fs::copy(env!("CARGO_BIN_EXE_watchdog_child"), &copy).expect("copy the child program");
    chown(&copy, Some(0), Some(0)).expect("chown");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o4755)).expect("chmod");
    copy
}

/// The parent is nobody in particular; the child becomes root by its own program file.
fn setuid_child_is_gone(through: fn(Spawn) -> Spawn) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can make a program setuid root");
        return;
    }
    let (mut cast, mut parent) = open();
    let program = setuid_child(&cast);
    parent.must(&Order::Become { uid: 65534 });
    parent.ask(&Order::Spawn(through(
        Spawn::new("child").program(&program),
    )));
    let mut child = cast.enter("child");
    if child.ask(&Order::TellEuid) != "0" {
        eprintln!(
            "skipped: {} is on a file system mounted nosuid",
            program.display()
        );
        return;
    }
    child.must(&Order::Adopt);
    child.must(&Order::OnSigterm(OnSigterm::Ignore));
    child.must(&Order::enforce(libc::SIGTERM, Duration::ZERO));
    let (status, _) = outlived(&mut cast, &parent, &child);
    assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
}

// The supervised program itself is setuid, and more than its parent may signal. It would have lost
// the parent-death signal: docs/pitfalls.md#the-parent-death-signal.
#[test]
fn setuid_child_of_an_unprivileged_parent_is_gone() {
    setuid_child_is_gone(|spawn| spawn);
}

// The same by way of a shell, which adopts nothing and executes the setuid program in its own
// place. (A program that has adopted and then executes another lets go of the pipe: the crate's
// limits say so.)
#[test]
fn child_that_execs_a_setuid_program_is_gone() {
    setuid_child_is_gone(|spawn| spawn.through("/bin/sh"));
}

// The read end's number may be another one.
#[test]
fn number_is_the_spawners_choice() {
    let (mut cast, mut parent) = open();
    parent.ask(&Order::Spawn(Spawn::new("child").number(77)));
    let mut child = cast.enter("child");
    child.must(&Order::Adopt);
    parent.kill();
    assert_eq!(child.ask(&Order::Wait), "ParentExited");
}

// One policy, the spawner's: docs/pitfalls.md#two-grace-periods.
#[test]
fn policy_of_the_spawner_is_the_childs() {
    let (mut cast, mut parent) = open();
    parent.ask(&Order::Spawn(
        Spawn::new("child").policy(libc::SIGINT, GRACE),
    ));
    let mut child = cast.enter("child");
    child.must(&Order::Adopt);
    child.must(&Order::Handle {
        signal: libc::SIGINT,
    });
    child.must(&Order::EnforceInherited);
    let (status, elapsed) = outlived(&mut cast, &parent, &child);
    assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
    assert!(elapsed >= GRACE, "{elapsed:?}");
}

#[test]
fn policy_that_the_spawner_did_not_set_is_sigterm_first() {
    let (mut cast, parent, mut child) = family();
    child.must(&Order::EnforceInherited);
    let (status, _) = outlived(&mut cast, &parent, &child);
    assert_eq!(status.signal(), Some(libc::SIGTERM), "{status}");
}

// Its watchdog is frozen too, which the documentation says: docs/pitfalls.md#a-stopped-child.
#[test]
fn stopped_child_is_frozen_and_dies_once_it_goes_on() {
    let (mut cast, parent, mut child) = family();
    child.must(&Order::enforce(libc::SIGTERM, Duration::ZERO));
    child.must(&Order::OnSigterm(OnSigterm::Ignore));
    child.signal(Signal::STOP);
    let state = |wanted| move |pid| (stat(pid)?.state == wanted).then_some(());
    until("child stops", || state('T')(child.pid()));
    parent.kill();
    cast.ended(&parent);
    assert!(child.is_running());
    child.signal(Signal::CONT);
    child.gone();
    assert_eq!(cast.ended(&child).signal(), Some(libc::SIGKILL));
}

// A release stops nobody, and the parent's death afterwards is none of the child's business.
#[test]
fn released_child_lives_on_after_its_parent() {
    let (mut cast, mut parent, mut child) = family();
    child.must(&Order::enforce(libc::SIGKILL, Duration::ZERO));
    parent.must(&Order::Release { link: 0 });
    parent.kill();
    cast.ended(&parent);
    thread_has_ended(&child);
    // Whatever it would have done to this process, it has done.
    child.must(&Order::Answer);
    assert_eq!(child.ask(&Order::Cancel), "Some(Released)");
}
