//! A callback is called once, when the process has exited, and reaps nothing.

use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

use pidfd_watcher::{Cancelled, Error, Exit, Process, WatchHandle, Watcher};
use workspace_tests::namespace::looked_at;
use workspace_tests::orders::Order;
use workspace_tests::{Dialogue, Guard, Held, Told, proc_fs, time_limit, until};

#[test]
fn watcher_and_handle_go_between_threads() {
    fn promise<T: Send + Sync + Unpin + 'static>() {}
    fn clone<T: Clone>() {}
    promise::<Watcher>();
    promise::<WatchHandle>();
    promise::<pidfd_watcher::ExitFuture>();
    clone::<Watcher>();
}

#[test]
fn live_child_is_told_when_it_exits_and_stays_reapable() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    let (told, _handle) = Told::by(&watcher, child.process());
    told.is_waiting();
    assert_eq!(child.process().try_wait().expect("poll"), None);
    child.exit(3);
    let exit = told.exit();
    assert_eq!(exit.pid, child.process().pid());
    assert_eq!(exit.status.and_then(|status| status.code()), looked_at(3));
    assert_eq!(proc_fs::stat(child.pid()).map(|stat| stat.state), Some('Z'));
    let reaped = child.process().clone().reap().expect("still ours to reap");
    assert_eq!(reaped.status.and_then(|status| status.code()), Some(3));
}

#[test]
fn zombie_is_told_at_once() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    child.exit(4);
    child.process().wait().expect("own child");
    for _ in 0..3 {
        assert_eq!(Told::by(&watcher, child.process()).0.code(), looked_at(4));
    }
}

#[test]
fn reaped_process_is_told_at_once_with_the_status_that_was_learned() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    child.exit(0);
    child.process().wait().expect("own child");
    child.process().clone().reap().expect("own child");
    assert_eq!(Told::by(&watcher, child.process()).0.code(), Some(0));
}

#[test]
fn of_two_callbacks_the_cancelled_one_is_dropped_and_the_other_runs() {
    let watcher = Watcher::new().expect("watcher");
    for cancel_first in [false, true] {
        let child = Held::new();
        let (one, one_handle) = Told::by(&watcher, child.process());
        let (other, other_handle) = Told::by(&watcher, child.process());
        let (gone, stays, handle) = if cancel_first {
            (one, other, one_handle)
        } else {
            (other, one, other_handle)
        };
        assert_eq!(handle.cancel(), Cancelled::Prevented);
        gone.was_dropped();
        child.exit(5);
        assert_eq!(stays.code(), looked_at(5));
    }
}

#[test]
fn callbacks_of_one_process_run_in_the_order_in_which_they_came() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    let (tell, told) = channel();
    let mut handles = Vec::new();
    for n in 0..100 {
        let tell = tell.clone();
        let handle = watcher.watch(child.process(), move |_| tell.send(n).expect("listens"));
        handles.push(handle.expect("watch"));
    }
    drop(tell);
    // Taken out at both ends and in the middle.
    let mut left: Vec<i32> = (0..100).collect();
    for n in [99, 50, 49, 51, 0, 1] {
        assert_eq!(handles.remove(n).cancel(), Cancelled::Prevented);
        left.remove(n);
    }
    child.exit(0);
    let order: Vec<i32> = left
        .iter()
        .map_while(|_| told.recv_timeout(time_limit()).ok())
        .collect();
    assert_eq!(order, left);
    assert_eq!(told.recv_timeout(time_limit()).ok(), None, "and no other");
}

#[test]
fn two_handles_on_one_process_are_told_both() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    let other = Process::open(child.process().pid()).expect("own child");
    let (one, _) = Told::by(&watcher, child.process());
    let (two, _) = Told::by(&watcher, &other);
    let (third, handle) = Told::by(&watcher, &other);
    assert_eq!(handle.cancel(), Cancelled::Prevented);
    third.was_dropped();
    child.exit(6);
    assert_eq!((one.code(), two.code()), (looked_at(6), looked_at(6)));
}

#[test]
fn two_watchers_of_one_process_tell_both() {
    let watchers = [(); 2].map(|()| Watcher::new().expect("watcher"));
    let child = Held::new();
    let told = watchers
        .each_ref()
        .map(|watcher| Told::by(watcher, child.process()).0);
    child.kill();
    for told in told {
        let status = told.status().expect("own child");
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(libc::SIGKILL)
        );
    }
}

#[test]
fn dropped_handles_leave_the_callback_on() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    let (told, handle) = Told::by(&watcher, child.process());
    drop(handle);
    told.is_waiting();
    child.exit(8);
    assert_eq!(told.code(), looked_at(8));
}

#[test]
fn watcher_keeps_the_process_that_its_owner_let_go() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    let own = Process::open(child.process().pid()).expect("own child");
    let (told, _handle) = Told::by(&watcher, &own);
    drop(own);
    child.exit(9);
    assert_eq!(told.code(), looked_at(9));
}

/// A program that is its parent's to reap, not ours.
fn stranger(code: i32) -> (Dialogue, Process) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_proc_target"));
    let mut parent = Dialogue::spawn(command.arg(Order::ParentOf { code }.argument()));
    let pid = parent
        .hear()
        .parse()
        .ok()
        .and_then(pidfd_watcher::Pid::from_raw);
    let process = Process::open(pid.expect("a pid")).expect("open by pid");
    (parent, process)
}

#[test]
fn stranger_is_told_at_the_first_edge_with_the_status_of_its_zombie() {
    let watcher = Watcher::new().expect("watcher");
    for code in [0, 3, 255] {
        let (mut parent, process) = stranger(code);
        let (told, _handle) = Told::by(&watcher, &process);
        told.is_waiting();
        parent.order(&Order::EndChild);
        assert_eq!(told.code(), looked_at(code), "nobody has reaped it");
    }
}

#[test]
fn child_that_somebody_else_reaps_is_told_and_its_status_is_right_or_unknown() {
    let watcher = Watcher::new().expect("watcher");
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut numbers = release.split('.').map_while(|n| n.parse::<u32>().ok());
    let known = (numbers.next(), numbers.next()) >= (Some(6), Some(15));
    for code in [0, 7] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proc_target"));
        let mut child = Guard::spawn(
            command
                .arg(Order::ExitAtEof { code }.argument())
                .stdin(Stdio::piped()),
        );
        let process = Process::from_child(&mut child).expect("own child");
        child.stdin = None;
        child.wait_deadline();
        let told = Told::by(&watcher, &process).0.code();
        assert!(told == Some(code) || (told.is_none() && !known), "{told:?}");
    }
}

#[test]
fn leader_that_ends_first_is_no_exit() {
    let watcher = Watcher::new().expect("watcher");
    let mut command = Command::new(env!("CARGO_BIN_EXE_proc_target"));
    let mut fixture = Dialogue::spawn(command.arg(Order::LeaderFirst { code: 42 }.argument()));
    let process = Process::from_child(fixture.child()).expect("own child");
    let (told, _handle) = Told::by(&watcher, &process);
    assert_eq!(fixture.hear(), "leader gone");
    // Watched anew, it is no more dead than before; and the watcher has had its turn after both.
    let (again, _handle) = Told::by(&watcher, &process);
    turn(&watcher);
    told.is_waiting();
    again.is_waiting();
    fixture.hang_up();
    assert_eq!((told.code(), again.code()), (looked_at(42), looked_at(42)));
}

/// Returns once the watcher has dispatched whatever was ready before.
fn turn(watcher: &Watcher) {
    let child = Held::new();
    child.kill();
    child.process().wait().expect("own child");
    Told::by(watcher, child.process()).0.exit();
}

#[test]
fn stopped_and_continued_child_is_not_told() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    let (told, _handle) = Told::by(&watcher, child.process());
    for (signal, state) in [(libc::SIGSTOP, 'T'), (libc::SIGCONT, 'S')] {
        let signal = pidfd_watcher::Signal::from_named_raw(signal).expect("a signal");
        child.process().send_signal(signal).expect("own child");
        until("stopped, or continued", || {
            (proc_fs::stat(child.pid())?.state == state).then_some(())
        });
    }
    turn(&watcher);
    told.is_waiting();
    child.exit(1);
    assert_eq!(told.code(), looked_at(1));
}

#[test]
fn global_watcher_is_one() {
    let one = Watcher::global().expect("watcher");
    let threads: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(|| std::ptr::from_ref(Watcher::global().expect("watcher")).addr())
        })
        .collect();
    for thread in threads {
        assert_eq!(
            thread.join().expect("thread"),
            std::ptr::from_ref(one).addr()
        );
    }
    let child = Held::new();
    let (told, _) = Told::by(one, child.process());
    child.exit(2);
    assert_eq!(told.code(), looked_at(2));
}

#[test]
fn callback_that_is_refused_is_dropped() {
    // What a refused watch gives back, seen without any filter: a child of nobody here.
    let watcher = Watcher::new().expect("watcher");
    let (_parent, process) = stranger(1);
    let (told, callback) = Told::pair();
    let failed = watcher
        .watch_and_reap(process.clone(), callback)
        .expect_err("no child of ours");
    told.was_dropped();
    assert!(matches!(failed.error, Error::NotChild(_)), "{failed}");
    assert_eq!(failed.process.pid(), process.pid());
    let _: fn(Exit) = drop;
}
