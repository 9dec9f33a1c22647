//! A running protection: cancelled, dropped, with a callback, and robbed of what it waits on.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use workspace_tests::cast::{Actor, Cast};
use workspace_tests::orders::{Callback, LONG, OnSigterm, Order, Spawn};
use workspace_tests::until;

use crate::family::{GRACE, family, open, outlived, status_after, thread_has_ended};

mod family;

#[test]
fn dropped_monitor_leaves_the_protection_on() {
    let (mut cast, parent, mut child) = family();
    child.must(&Order::enforce(libc::SIGTERM, LONG));
    child.must(&Order::DropMonitor);
    let (status, _) = outlived(&mut cast, &parent, &child);
    assert_eq!(status.signal(), Some(libc::SIGTERM), "{status}");
}

#[test]
fn cancel_before_the_verdict_takes_the_protection_off() {
    let (mut cast, parent, mut child) = family();
    child.must(&Order::enforce(libc::SIGKILL, Duration::ZERO));
    assert_eq!(child.ask(&Order::Cancel), "None");
    parent.kill();
    cast.ended(&parent);
    child.must(&Order::Answer);
    // `cancel` has waited for the thread.
    thread_has_ended(&child);
}

#[test]
fn cancel_within_the_grace_period_saves_the_child() {
    let (mut cast, parent, mut child) = family();
    child.must(&Order::OnSigterm(OnSigterm::Count));
    child.must(&Order::enforce(libc::SIGTERM, LONG));
    parent.kill();
    cast.ended(&parent);
    until("SIGTERM is handled", || {
        (child.ask(&Order::CountHandled) == "1").then_some(())
    });
    assert_eq!(child.ask(&Order::Cancel), "Some(ParentExited)");
    child.must(&Order::Answer);
}

#[test]
fn callback_is_given_the_verdict_and_decides() {
    for (end, verdict) in [
        (Order::Drop { link: 0 }, "KeepaliveDropped"),
        (Order::Release { link: 0 }, "Released"),
    ] {
        let (mut cast, mut parent, mut child) = family();
        child.must(&Order::Callback(Callback::Tells));
        let mut voice = cast.enter("callback");
        parent.must(&end);
        assert_eq!(voice.hear(), verdict);
        // Nothing else stops this process.
        parent.kill();
        thread_has_ended(&child);
        assert_eq!(child.ask(&Order::Cancel), format!("Some({verdict})"));
        child.must(&Order::Answer);
    }
}

#[test]
fn callback_may_cancel_its_own_monitor() {
    let (mut cast, mut parent, mut child) = family();
    child.must(&Order::Callback(Callback::Cancels));
    let mut voice = cast.enter("callback");
    parent.must(&Order::Drop { link: 0 });
    assert_eq!(voice.hear(), "Some(KeepaliveDropped)");
    child.must(&Order::Answer);
}

// 32 and 33 are the C library's own: docs/kernel.md#signals.
#[test]
fn callback_runs_with_every_signal_blocked_and_main_does_not() {
    let (mut cast, mut parent, mut child) = family();
    child.must(&Order::Callback(Callback::TellsItsMask));
    let mut voice = cast.enter("callback");
    let main = fs::read_to_string(format!("/proc/{}/status", child.pid())).expect("status");
    assert!(main.contains("SigBlk:\t0000000000000000"), "{main}");
    parent.must(&Order::Drop { link: 0 });
    let mask = u64::from_str_radix(&voice.hear(), 16).expect("a mask");
    let unblockable = [libc::SIGKILL, libc::SIGSTOP, 32, 33];
    for signal in (1..=64).filter(|signal| !unblockable.contains(signal)) {
        assert_ne!(mask & (1 << (signal - 1)), 0, "signal {signal} in {mask:x}");
    }
}

// Whatever panics, the process is stopped as the policy says.
#[test]
fn callback_that_panics_ends_the_child_all_the_same() {
    for what in [
        Callback::Panics,
        Callback::PanicsInDrop,
        Callback::PanicsTwice,
    ] {
        let (mut cast, mut parent) = open();
        parent.ask(&Order::Spawn(
            Spawn::new("child").policy(libc::SIGINT, GRACE),
        ));
        let mut child = cast.enter("child");
        child.must(&Order::Adopt);
        child.must(&Order::Handle {
            signal: libc::SIGINT,
        });
        child.must(&Order::Callback(what));
        let mut voice = cast.enter("callback");
        let (status, elapsed) = outlived(&mut cast, &parent, &child);
        assert_eq!(voice.hear(), "ParentExited");
        assert_eq!(status.signal(), Some(libc::SIGKILL), "{what:?}: {status}");
        assert!(elapsed >= GRACE, "{what:?}: {elapsed:?}");
    }
}

#[test]
fn callback_that_panics_over_a_release_stops_nothing() {
    let (mut cast, mut parent, mut child) = family();
    child.must(&Order::Callback(Callback::Panics));
    let mut voice = cast.enter("callback");
    parent.must(&Order::Release { link: 0 });
    assert_eq!(voice.hear(), "Released");
    assert_eq!(child.ask(&Order::Cancel), "Some(Released)");
    child.must(&Order::Answer);
}

#[test]
fn captures_that_panic_when_a_cancelled_callback_is_dropped_harm_nobody() {
    let (mut cast, _parent, mut child) = family();
    child.must(&Order::Callback(Callback::PanicsInDrop));
    let _voice = cast.enter("callback");
    assert_eq!(child.ask(&Order::Cancel), "None");
    child.must(&Order::Answer);
}

/// A child whose pipe was closed by somebody in it. Its number is a high one, which nothing takes
/// over.
fn robbed() -> (Cast, Actor, Actor) {
    let (mut cast, mut parent) = open();
    parent.ask(&Order::Spawn(
        Spawn::new("child")
            .number(77)
            .policy(libc::SIGKILL, Duration::ZERO),
    ));
    let mut child = cast.enter("child");
    child.must(&Order::Adopt);
    child.must(&Order::CloseDescriptor);
    (cast, parent, child)
}

// `Watchdog::enforce`: "If the descriptor is closed by somebody else in this process ... stopped
// too".
#[test]
fn child_that_lost_its_descriptor_is_stopped() {
    let (mut cast, parent, mut child) = robbed();
    // SIGKILL may be faster than the answer.
    child.tell(&Order::enforce(libc::SIGKILL, Duration::ZERO));
    child.gone();
    assert_eq!(
        status_after(&mut cast, &parent, &child).signal(),
        Some(libc::SIGKILL)
    );
}

// A library that daemonizes closes what it did not open: the thread loses the pipe, and its own
// descriptors.
#[test]
fn child_that_closed_every_descriptor_is_gone_with_its_parent() {
    let (mut cast, parent, mut child) = family();
    child.must(&Order::enforce(libc::SIGKILL, Duration::ZERO));
    sleeps_in_poll(&child);
    child.must(&Order::CloseEverything);
    let (status, _) = outlived(&mut cast, &parent, &child);
    assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
    // And where the stop signal is not enough: no descriptor is needed to wait for the grace.
    let (mut cast, parent, mut child) = family();
    child.must(&Order::OnSigterm(OnSigterm::Ignore));
    child.must(&Order::enforce(libc::SIGTERM, GRACE));
    sleeps_in_poll(&child);
    child.must(&Order::CloseEverything);
    let (status, elapsed) = outlived(&mut cast, &parent, &child);
    assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
    assert!(elapsed >= GRACE, "{elapsed:?}");
}

/// Waits until the child's other thread waits for what may come.
fn sleeps_in_poll(child: &Actor) {
    until("watchdog thread sleeps in poll", || {
        let tasks = fs::read_dir(format!("/proc/{}/task", child.pid())).ok()?;
        let mut calls =
            tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("syscall")).ok());
        // As the architecture has it.
        #[cfg(target_arch = "x86_64")]
        let poll = libc::SYS_poll;
        #[cfg(not(target_arch = "x86_64"))]
        let poll = libc::SYS_ppoll;
        let poll = format!("{poll} ");
        calls.any(|call| call.starts_with(&poll)).then_some(())
    });
}

// signal(7), setuid(2) "C library/kernel differences": that signal interrupts poll(2) in every
// thread, whatever its mask is. Neither a verdict nor the end of a grace comes of it.
#[test]
fn setuid_in_the_child_interrupts_and_changes_nothing() {
    // Far longer than what is done within it.
    let grace = Duration::from_secs(2);
    let (mut cast, parent, mut child) = family();
    child.must(&Order::OnSigterm(OnSigterm::Count));
    child.must(&Order::enforce(libc::SIGTERM, grace));
    sleeps_in_poll(&child);
    for _ in 0..20 {
        child.must(&Order::SetUid);
    }
    assert_eq!(child.ask(&Order::CountHandled), "0");
    let start = Instant::now();
    parent.kill();
    until("SIGTERM is handled", || {
        (child.ask(&Order::CountHandled) == "1").then_some(())
    });
    for _ in 0..20 {
        child.must(&Order::SetUid);
    }
    child.gone();
    assert!(start.elapsed() >= grace, "{:?}", start.elapsed());
    assert_eq!(cast.ended(&child).signal(), Some(libc::SIGKILL));
}

// The same where a callback waits: a lost descriptor is no verdict, and the callback is not told
// one.
#[test]
fn lost_descriptor_is_not_told_to_a_callback_as_a_death() {
    let (mut cast, parent, mut child) = robbed();
    child.tell(&Order::Callback(Callback::Tells));
    let voice = cast.enter("callback");
    child.gone();
    assert_eq!(
        status_after(&mut cast, &parent, &child).signal(),
        Some(libc::SIGKILL)
    );
    assert!(voice.said_nothing());
}

// A wrong number is no verdict: docs/pitfalls.md#any-return-of-poll.
#[test]
fn wait_on_a_descriptor_that_somebody_closed_is_an_error() {
    let (_cast, _parent, mut child) = robbed();
    for order in [Order::Wait, Order::TryWait] {
        let answer = child.ask(&order);
        assert!(
            answer.contains(&format!("code: {}", libc::EBADF)),
            "{answer}"
        );
    }
}
