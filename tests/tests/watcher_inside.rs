//! Every call of the API is allowed inside a callback.

use std::os::fd::AsFd;
use std::pin::pin;
use std::process::Command;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pidfd_watcher::{Builder, Cancelled, Exit, Process, Signal, WatchHandle, Watcher};
use workspace_tests::namespace::looked_at;
use workspace_tests::orders::Order;
use workspace_tests::{Guard, Held, Told, time_limit};

/// Runs `inside` in a callback of `watcher`. A call that deadlocks there is found by the deadline,
/// and one that panics is a failure of the test.
#[track_caller]
fn in_a_callback(watcher: &Watcher, inside: impl FnOnce(Exit) + Send + 'static) {
    let child = Held::new();
    let (say, said) = channel();
    let callback = move |exit| {
        inside(exit);
        say.send(()).expect("the test listens");
    };
    let _handle = watcher.watch(child.process(), callback).expect("watch");
    child.exit(0);
    said.recv_timeout(time_limit())
        .expect("the callback runs to its end");
}

#[test]
fn every_call_of_a_process_works_inside_a_callback() {
    let watcher = Watcher::new().expect("watcher");
    in_a_callback(&watcher, |_| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proc_target"));
        command
            .arg(Order::ExitAtEof { code: 4 }.argument())
            .stdin(std::process::Stdio::piped());
        let mut child = Guard::spawn(&mut command);
        let process = Process::from_child(&mut child).expect("own child");
        let again = Process::open(process.pid()).expect("own child");
        let pidfd = again.as_fd().try_clone_to_owned().expect("dup");
        let third = Process::from_pidfd(pidfd).expect("a pidfd");
        assert_eq!(third.pid(), process.pid());
        assert_eq!(process.try_wait().expect("poll"), None);
        assert_eq!(
            process
                .wait_timeout(Duration::from_millis(1))
                .expect("poll"),
            None
        );
        process.send_signal(Signal::CONT).expect("own child");
        drop(child.stdin.take());
        let exit = process.wait().expect("poll");
        assert_eq!(exit.status.and_then(|status| status.code()), looked_at(4));
        let reaped = process.reap().expect("own child");
        assert_eq!(reaped.status.and_then(|status| status.code()), Some(4));
        third.try_wait().expect("poll").expect("has exited");
        // One that was forked here ends the same way.
        drop(Held::new());
    });
}

#[test]
fn every_call_of_the_same_watcher_works_inside_a_callback_of_its_own() {
    let watcher = Watcher::new().expect("watcher");
    let (living, dead) = (Held::new(), Held::new());
    dead.exit(6);
    dead.process().wait().expect("own child");
    let (again, callback) = Told::pair();
    let (charged, take_charge) = Told::pair();
    let own = watcher.clone();
    let (alive, gone) = (living.process().clone(), dead.process().clone());
    in_a_callback(&watcher, move |_| {
        let handle = own.watch(&alive, |_| {}).expect("watch");
        assert_eq!(handle.cancel(), Cancelled::Prevented);
        drop(own.watch(&gone, callback).expect("watch"));
        let mut context = Context::from_waker(Waker::noop());
        let mut future = pin!(own.exited(&alive));
        assert!(future.as_mut().poll(&mut context).is_pending());
        drop(own.exited(&alive));
        drop(own.exited(&gone));
        let handle = own.watch_and_reap(gone, take_charge).expect("own child");
        assert!(format!("{own:?} {handle:?}").contains("WatchHandle"));
    });
    let again = again.code();
    // Perhaps told before the reaping.
    assert!(again == Some(6) || again == looked_at(6), "{again:?}");
    assert_eq!(charged.code(), Some(6));
    assert!(dead.process().send_signal(Signal::CONT).is_err(), "reaped");
    // Nothing of what was taken back there is left.
    let (told, _) = Told::by(&watcher, living.process());
    living.exit(7);
    assert_eq!(told.code(), looked_at(7));
}

#[test]
fn watchers_are_made_and_dropped_inside_a_callback() {
    let watcher = Watcher::new().expect("watcher");
    in_a_callback(&watcher, |_| {
        let child = Held::new();
        let (mut futures, mut owed) = (Vec::new(), Vec::new());
        for other in [
            Watcher::new().expect("watcher"),
            Builder::new().on_panic(|_| {}).build().expect("watcher"),
        ] {
            let (never, _) = Told::by(&other, child.process());
            let (charged, callback) = Told::pair();
            other
                .watch_and_reap(child.process().clone(), callback)
                .expect("own child");
            futures.push(other.exited(child.process()));
            drop(other);
            never.was_dropped();
            charged.is_waiting();
            owed.push(charged);
        }
        let mut context = Context::from_waker(Waker::noop());
        for future in futures {
            let Poll::Ready(Err(pidfd_watcher::Error::ShutDown)) = pin!(future).poll(&mut context)
            else {
                panic!("not shut down");
            };
        }
        // The one of all is another's: its callbacks run while this one waits for them.
        let global = Watcher::global().expect("watcher");
        let (told, _) = Told::by(global, child.process());
        child.exit(8);
        assert_eq!(told.exit().pid, child.process().pid());
        for charged in owed {
            assert_eq!(charged.exit().pid, child.process().pid());
        }
        let mut future = pin!(child.process().exited());
        let exit = workspace_tests::until("the future is ready", || {
            match future.as_mut().poll(&mut context) {
                Poll::Ready(exit) => Some(exit.expect("watched")),
                Poll::Pending => None,
            }
        });
        assert_eq!(exit.pid, child.process().pid());
    });
}

type Kept = Arc<Mutex<Option<WatchHandle>>>;

/// The last watcher goes inside a callback, with everything that a callback could still do there
/// after it.
#[test]
fn callback_that_drops_the_last_watcher_goes_on_and_so_do_its_handles() {
    let watcher = Watcher::new().expect("watcher");
    let (child, other) = (Held::new(), Held::new());
    let (never, others) = Told::by(&watcher, other.process());
    let future = watcher.exited(other.process());
    let (charged, callback) = Told::pair();
    watcher
        .watch_and_reap(other.process().clone(), callback)
        .expect("own child");
    let own = Kept::default();
    let (kept, last, (say, said)) = (Arc::clone(&own), watcher.clone(), channel());
    let handle = watcher.watch(child.process(), move |exit| {
        drop(last);
        never.was_dropped();
        let mut context = Context::from_waker(Waker::noop());
        let shut_down = matches!(
            pin!(future).poll(&mut context),
            Poll::Ready(Err(pidfd_watcher::Error::ShutDown))
        );
        let handle = kept.lock().expect("no panic").take().expect("a handle");
        say.send((exit, others.cancel(), handle.cancel(), shut_down))
            .expect("the test listens");
    });
    *own.lock().expect("no panic") = Some(handle.expect("watch"));
    drop(watcher);
    child.exit(1);
    let (exit, others, itself, shut_down) = said.recv_timeout(time_limit()).expect("runs");
    assert_eq!(exit.pid, child.process().pid());
    assert_eq!(
        (others, itself, shut_down),
        (Cancelled::Prevented, Cancelled::Running, true)
    );
    // What was promised to be reaped still is, by the thread that has no watcher any more.
    charged.is_waiting();
    other.exit(2);
    assert_eq!(charged.code(), Some(2));
}

/// Both wait for one process; whoever runs first prevents the other, and never waits for it.
#[test]
fn of_two_callbacks_that_cancel_each_other_the_first_wins() {
    let watcher = Watcher::new().expect("watcher");
    for round in 0..100 {
        let child = Held::new();
        let handles = [Kept::default(), Kept::default()];
        let (say, said) = channel();
        for n in [0, 1] {
            let (other, say) = (Arc::clone(&handles[1 - n]), say.clone());
            let handle = watcher.watch(child.process(), move |_| {
                let other = other.lock().expect("no panic").take().expect("a handle");
                say.send((n, other.cancel())).expect("the test listens");
            });
            *handles[n].lock().expect("no panic") = Some(handle.expect("watch"));
        }
        drop(say);
        child.exit(0);
        assert_eq!(
            said.recv_timeout(time_limit()),
            Ok((0, Cancelled::Prevented)),
            "round {round}"
        );
        assert!(said.recv_timeout(time_limit()).is_err(), "round {round}");
    }
}
