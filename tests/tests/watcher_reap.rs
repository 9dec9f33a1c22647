//! `watch_and_reap`: a child that is given over is reaped, whatever becomes of handle and watcher.

use std::process::Command;
use std::sync::mpsc::channel;

use pidfd_watcher::{Cancelled, Error, Process, Watcher};
use workspace_tests::namespace::{kernel, looked_at};
use workspace_tests::orders::Order;
use workspace_tests::{Dialogue, Guard, Held, Told, proc_fs, time_limit, until};

/// Whether the number is nobody's: the process was reaped.
#[track_caller]
fn is_reaped(process: &Process) {
    until("reaped", || {
        let gone = process.send_signal(pidfd_watcher::Signal::KILL);
        matches!(gone, Err(Error::NotFound(_))).then_some(())
    });
}

/// A handle of its own on the child, so that what the watcher knows is not known to it.
fn other_handle(child: &Held) -> Process {
    Process::open(child.process().pid()).expect("own child")
}

#[test]
fn child_is_reaped_before_the_callback_runs() {
    let watcher = Watcher::new().expect("watcher");
    for dead in [false, true] {
        let child = Held::new();
        let witness = other_handle(&child);
        if dead {
            child.exit(3);
            child.process().wait().expect("own child");
        }
        let (say, said) = std::sync::mpsc::channel();
        let callback = move |exit| {
            let failed = witness.send_signal(pidfd_watcher::Signal::KILL);
            say.send((exit, failed.map_err(|error| error.raw_os_error())))
                .expect("listens");
        };
        watcher
            .watch_and_reap(child.process().clone(), callback)
            .expect("own child");
        if !dead {
            child.exit(3);
        }
        let (exit, signalled): (pidfd_watcher::Exit, _) = said
            .recv_timeout(workspace_tests::time_limit())
            .expect("runs");
        assert_eq!(exit.status.and_then(|status| status.code()), Some(3));
        assert_eq!(signalled, Err(Some(libc::ESRCH)), "reaped by then");
        assert_eq!(proc_fs::stat(child.pid()), None);
        // The status is known to the owner's handle, which shares it.
        assert_eq!(
            child.process().clone().reap().expect("learned").status,
            exit.status
        );
    }
}

/// A watcher waits for what it was given alone: docs/pitfalls.md#a-reaper-for-everybody.
#[test]
fn child_of_nobodys_charge_keeps_its_status_for_its_owner() {
    let watcher = Watcher::new().expect("watcher");
    let mut own = Guard::spawn(Command::new("sh").args(["-c", "exit 5"]));
    let watched = Held::new();
    watched.exit(6);
    let number = own.id().cast_signed();
    for child in [number, watched.pid()] {
        until("a zombie", || {
            proc_fs::stat(child)?.is_zombie().then_some(())
        });
    }
    let (seen, _) = Told::by(&watcher, watched.process());
    let (told, callback) = Told::pair();
    let charged = Held::new();
    watcher
        .watch_and_reap(charged.process().clone(), callback)
        .expect("own child");
    charged.exit(3);
    assert_eq!((told.code(), seen.code()), (Some(3), looked_at(6)));
    // The watcher's thread has reaped one child. These two are where they were.
    assert_eq!(own.wait_deadline().code(), Some(5));
    let reaped = watched.process().clone().reap().expect("own child");
    assert_eq!(reaped.status.and_then(|status| status.code()), Some(6));
}

#[test]
fn child_is_reaped_after_its_callback_was_cancelled() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    let (told, callback) = Told::pair();
    let handle = watcher
        .watch_and_reap(child.process().clone(), callback)
        .expect("own child");
    assert_eq!(handle.cancel(), Cancelled::Prevented);
    told.was_dropped();
    child.exit(1);
    is_reaped(child.process());
    until("not registered", || {
        (!proc_fs::watched_by_epoll(child.process())).then_some(())
    });
}

#[test]
fn child_is_reaped_and_told_after_the_last_watcher_is_gone() {
    for cancel in [false, true] {
        let watcher = Watcher::new().expect("watcher");
        let (child, bystander) = (Held::new(), Held::new());
        let (told, callback) = Told::pair();
        let handle = watcher
            .watch_and_reap(child.process().clone(), callback)
            .expect("own child");
        // One that only watches the same process goes with the watcher.
        let (plain, _) = Told::by(&watcher, child.process());
        let (other, _) = Told::by(&watcher, bystander.process());
        drop(watcher);
        plain.was_dropped();
        other.was_dropped();
        told.is_waiting();
        if cancel {
            assert_eq!(handle.cancel(), Cancelled::Prevented);
            told.was_dropped();
            child.exit(2);
        } else {
            child.exit(2);
            assert_eq!(told.code(), Some(2));
            assert_eq!(handle.cancel(), Cancelled::AlreadyRan);
        }
        is_reaped(child.process());
    }
}

#[test]
fn all_who_take_charge_of_one_child_are_told() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    let second = other_handle(&child);
    let (before, _) = Told::by(&watcher, child.process());
    let [one, two, three] = [child.process(), child.process(), &second].map(|process| {
        let (told, callback) = Told::pair();
        watcher
            .watch_and_reap(process.clone(), callback)
            .expect("own child");
        told
    });
    let (after, _) = Told::by(&watcher, &second);
    child.exit(4);
    for told in [before, one, two, three, after] {
        // The second handle's entry finds the child reaped by the first one's: known since Linux
        // 6.15.
        let code = told.code();
        assert!(matches!(code, Some(4) | None), "{code:?}");
    }
    is_reaped(&second);
}

#[test]
fn wish_to_reap_that_comes_while_the_child_is_told_is_fulfilled() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    let (told, reaped) = Told::pair();
    let (clone, process) = (watcher.clone(), child.process().clone());
    let callback = move |_| {
        clone
            .watch_and_reap(process, reaped)
            .expect("still a zombie");
    };
    watcher.watch(child.process(), callback).expect("watch");
    child.exit(5);
    assert_eq!(told.code(), Some(5));
    is_reaped(child.process());
}

#[test]
fn child_that_somebody_else_reaps_is_told_and_given_up() {
    let watcher = Watcher::new().expect("watcher");
    for _ in 0..50 {
        let child = Held::new();
        let (told, callback) = Told::pair();
        watcher
            .watch_and_reap(child.process().clone(), callback)
            .expect("own child");
        // Whoever comes first; the process shares what either has learned.
        child.exit(6);
        child.process().wait().expect("own child");
        let status = child
            .process()
            .clone()
            .reap()
            .expect("one of the two")
            .status;
        assert_eq!(status.and_then(|status| status.code()), Some(6));
        assert_eq!(told.code(), Some(6));
        until("not registered", || {
            (!proc_fs::watched_by_epoll(child.process())).then_some(())
        });
    }
}

#[test]
fn reaped_child_is_not_ours_to_take_charge_of() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    child.kill();
    child.process().wait().expect("own child");
    child.process().clone().reap().expect("own child");
    let (told, callback) = Told::pair();
    let failed = watcher
        .watch_and_reap(child.process().clone(), callback)
        .expect_err("reaped");
    told.was_dropped();
    assert!(matches!(failed.error, Error::NotChild(_)), "{failed}");
    assert_eq!(failed.error.raw_os_error(), Some(libc::ECHILD));
    assert_eq!(failed.process.pid(), child.process().pid());
}

/// A tracer that holds the child's death until it is let go; `None` where that is not permitted.
fn tracer(child: &Held) -> Option<Dialogue> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proc_target"));
    let mut tracer = Dialogue::spawn(command.arg(Order::Trace { pid: child.pid() }.argument()));
    let said = tracer.hear();
    if said == "tracing" {
        return Some(tracer);
    }
    eprintln!("skipped: no permission to trace a sibling here ({said})");
    None
}

#[test]
fn traced_child_is_told_at_once_and_reaped_when_the_tracer_lets_go() {
    for watcher_goes in [false, true] {
        let watcher = Watcher::new().expect("watcher");
        let child = Held::new();
        let Some(mut tracer) = tracer(&child) else {
            return;
        };
        let (told, callback) = Told::pair();
        watcher
            .watch_and_reap(child.process().clone(), callback)
            .expect("own child");
        child.exit(7);
        assert_eq!(
            told.code(),
            looked_at(7),
            "from /proc, since waitid has nothing yet"
        );
        // Who comes now, while it cannot be reaped, is told at once as well.
        let (late, _) = Told::by(&watcher, child.process());
        assert_eq!(late.code(), looked_at(7));
        let (later, callback) = Told::pair();
        watcher
            .watch_and_reap(child.process().clone(), callback)
            .expect("own child");
        assert_eq!(later.code(), looked_at(7));
        assert_eq!(proc_fs::stat(child.pid()).map(|stat| stat.state), Some('Z'));
        if watcher_goes {
            drop(watcher);
        }
        tracer.hang_up();
        tracer.child().wait_deadline();
        is_reaped(child.process());
    }
}

/// Its owner asks for the reaping without a pause, while the watcher's thread is about it: whoever
/// comes second knows all the same that it was a child of ours, and how it ended.
#[test]
fn owner_who_reaps_at_the_same_time_has_the_status_too() {
    let watcher = Watcher::new().expect("watcher");
    for round in 0..1_000 {
        let child = Held::new();
        let (told, callback) = Told::pair();
        watcher
            .watch_and_reap(child.process().clone(), callback)
            .expect("own child");
        child.exit(7);
        let exit = until("it is reaped", || {
            (0..10_000).find_map(|_| match child.process().clone().reap() {
                Ok(exit) => Some(exit),
                Err(failed) if matches!(failed.error, Error::NotReady(_)) => None,
                Err(failed) => panic!("round {round}: {failed}"),
            })
        });
        assert_eq!(exit.status.and_then(|s| s.code()), Some(7), "round {round}");
        assert_eq!(told.code(), Some(7), "round {round}");
    }
}

/// It is reaped behind the watcher's back, and nobody has looked at it before: the kernel tells how
/// it ended as it tells a stranger. That it was ours is known since the watcher took charge of it.
#[test]
fn child_in_charge_that_was_reaped_unseen_was_ours_all_the_same() {
    let watcher = Watcher::new().expect("watcher");
    let (busy, child) = (Held::new(), Held::new());
    let (open, gate) = channel::<()>();
    let (began, has_begun) = channel();
    let occupy = move |_| {
        began.send(()).expect("listens");
        let _ = gate.recv_timeout(time_limit());
    };
    watcher.watch(busy.process(), occupy).expect("watch");
    busy.exit(0);
    has_begun.recv_timeout(time_limit()).expect("runs");

    let (told, callback) = Told::pair();
    watcher
        .watch_and_reap(child.process().clone(), callback)
        .expect("own child");
    child.exit(7);
    let other = other_handle(&child);
    other.wait().expect("own child");
    other.reap().expect("own child");
    let code = (kernel() >= (6, 15)).then_some(7);
    let again = child.process().clone().reap().ok();
    let status = again.and_then(|exit| exit.status);
    assert_eq!(status.and_then(|status| status.code()), code);
    drop(open);
    assert_eq!(told.code(), code);
}
