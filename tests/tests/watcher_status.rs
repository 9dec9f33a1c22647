//! How a process ended, as a callback is told: exact, or unknown, never invented.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;

use pidfd_watcher::{Cancelled, Error, Process, Signal, Watcher};
use rustix::process::{WaitId, WaitIdOptions, waitid};
use workspace_tests::namespace::{kernel, looked_at};
use workspace_tests::orders::Order;
use workspace_tests::{
    Dialogue, Folder, Guard, Held, Told, alone, alone_in_pid_namespace, namespace, proc_fs,
    signals, time_limit, until,
};

#[test]
fn every_exit_code_of_256_children_that_end_at_once_is_exact() {
    let watcher = Watcher::new().expect("watcher");
    let children: Vec<Held> = (0..=255).map(|_| Held::new()).collect();
    let told: Vec<Told> = children
        .iter()
        .map(|child| Told::by(&watcher, child.process()).0)
        .collect();
    for (code, child) in (0..=255).zip(&children) {
        child.exit(code);
    }
    for (code, told) in (0..=255).zip(told) {
        assert_eq!(told.status(), looked_at(ExitStatus::from_raw(code << 8)));
    }
}

/// The default action of these is not to terminate: signal(7).
const HARMLESS: [i32; 8] = [
    libc::SIGCHLD,
    libc::SIGCONT,
    libc::SIGSTOP,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGURG,
    libc::SIGWINCH,
];

/// What the kernel says to waitid, its own words: signal, and whether there is a core.
fn witness(process: &Process) -> (Option<i32>, bool) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    let pidfd = std::os::fd::AsFd::as_fd(process);
    let status = waitid(WaitId::PidFd(pidfd), options)
        .expect("waitid")
        .expect("a zombie");
    (status.terminating_signal(), status.dumped())
}

#[test]
fn every_terminating_signal_is_exact_with_its_core_flag() {
    let watcher = Watcher::new().expect("watcher");
    let folder = Folder::new();
    let (mut cores, mut none) = (0, 0);
    // 32 and 33 are the C library's own.
    for signal in (1..=31)
        .filter(|signal| !HARMLESS.contains(signal))
        .chain(34..=64)
    {
        for order in [Order::Raise { signal }, Order::DumpCore { signal }] {
            let dumps = signals::dumps_core(signal);
            if matches!(order, Order::DumpCore { .. }) && !dumps {
                continue;
            }
            let mut command = Command::new(env!("CARGO_BIN_EXE_proc_target"));
            command.arg(order.argument()).current_dir(folder.path());
            let mut child = Guard::spawn(command.stdin(Stdio::null()).stderr(Stdio::null()));
            let process = Process::from_child(&mut child).expect("own child");
            let told = Told::by(&watcher, &process).0.status();
            let looked = witness(&process);
            let status = child.wait_deadline();
            let dumped = status.core_dumped();
            assert_eq!(
                (status.code(), status.signal()),
                (None, Some(signal)),
                "{order:?}"
            );
            assert_eq!(looked, (Some(signal), dumped), "{order:?}");
            // Whether there was a dump would be the first thread's own before Linux 5.17.
            let expected = if dumps && !dumped {
                looked_at(status)
            } else {
                Some(status)
            };
            assert_eq!(told, expected, "{order:?}");
            if status.core_dumped() {
                cores += 1;
            } else {
                none += 1;
            }
        }
    }
    assert!(none > 0);
    if cores == 0 {
        eprintln!("skipped in part: this system writes no core (core_pattern, limits)");
    }
}

/// The kernel reaps: told all the same, and the status is right where it can be known.
#[test]
fn child_that_the_kernel_reaps_by_itself_is_told_with_the_right_status_or_none() {
    alone!({
        // SAFETY: sets a disposition, installs no handler.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        let watcher = Watcher::new().expect("watcher");
        for code in [0, 5] {
            let child = Held::new();
            let (told, _) = Told::by(&watcher, child.process());
            // It lives, so it is ours to wait for; when it dies there is nothing left to reap.
            let (charged, callback) = Told::pair();
            watcher
                .watch_and_reap(child.process().clone(), callback)
                .expect("a live child");
            child.exit(code);
            let code = i32::from(code);
            for told in [told, charged] {
                let known = told.code();
                assert!(
                    known == Some(code) || (known.is_none() && kernel() < (6, 15)),
                    "{known:?}"
                );
            }
            let (late, callback) = Told::pair();
            let failed = watcher
                .watch_and_reap(child.process().clone(), callback)
                .expect_err("nothing to reap");
            late.was_dropped();
            assert!(matches!(failed.error, Error::NotChild(_)), "{failed}");
        }
    });
}

/// In a namespace with few numbers the dead and the newcomer have one number, and two fates.
#[test]
fn newcomer_with_a_recycled_number_is_another_process() {
    alone_in_pid_namespace!({
        if !namespace::few_numbers() {
            return;
        }
        let watcher = Watcher::new().expect("watcher");
        until("numbers that come again", || {
            (Held::new().pid() > 300).then_some(())
        });

        let dead = Held::new();
        let number = dead.pid();
        let unseen = Process::open(dead.process().pid()).expect("own child");
        let (told, callback) = Told::pair();
        watcher
            .watch_and_reap(dead.process().clone(), callback)
            .expect("own child");
        dead.exit(7);
        assert_eq!(told.code(), Some(7));

        let newcomer = until("number comes round", || {
            let child = Held::new();
            (child.pid() == number).then_some(child)
        });
        let (new, handle) = Told::by(&watcher, newcomer.process());
        // Watched only now that its number is another's: told of its own end, from its own status.
        let old = Told::by(&watcher, &unseen).0.code();
        assert_eq!(old, (kernel() >= (6, 15)).then_some(7));
        let (told, callback) = Told::pair();
        let failed = watcher
            .watch_and_reap(unseen.clone(), callback)
            .expect_err("it is gone");
        assert!(matches!(failed.error, Error::NotChild(_)), "{failed}");
        told.was_dropped();
        new.is_waiting();
        assert!(proc_fs::is_running(number));
        newcomer.exit(9);
        assert_eq!(new.code(), looked_at(9));
        assert_eq!(handle.cancel(), Cancelled::AlreadyRan);
    });
}

#[test]
fn traced_child_that_died_is_told_at_the_first_edge_with_its_status() {
    let watcher = Watcher::new().expect("watcher");
    for (code, signal) in [
        (Some(0), None),
        (Some(11), None),
        (None, Some(Signal::KILL)),
    ] {
        let child = Held::new();
        let mut command = Command::new(env!("CARGO_BIN_EXE_proc_target"));
        let mut tracer = Dialogue::spawn(command.arg(Order::Trace { pid: child.pid() }.argument()));
        let said = tracer.hear();
        if said != "tracing" {
            eprintln!("skipped: no permission to trace a sibling here ({said})");
            return;
        }
        let (told, _) = Told::by(&watcher, child.process());
        match (code, signal) {
            (Some(code), _) => child.exit(code),
            (None, _) => child.kill(),
        }
        // From /proc, since waitid has nothing yet.
        let status = told.status();
        let expected = code.map_or(signal.map(|s| ExitStatus::from_raw(s.as_raw())), |code| {
            looked_at(ExitStatus::from_raw(i32::from(code) << 8))
        });
        assert_eq!(status, expected);
        // And the tracer has it to itself still.
        assert_eq!(
            child
                .process()
                .try_wait()
                .expect("poll")
                .and_then(|exit| exit.status),
            status
        );
        let failed = child
            .process()
            .clone()
            .reap()
            .expect_err("the tracer holds it");
        assert!(
            matches!(failed.error, pidfd_watcher::Error::NotReady(_)),
            "{failed}"
        );
    }
}

#[test]
fn status_that_a_callback_learned_is_known_to_all_clones_for_good() {
    let watcher = Watcher::new().expect("watcher");
    let child = Held::new();
    let (say, said) = channel();
    let watched = child.process().clone();
    watcher
        .watch(&watched, move |exit| say.send(exit).expect("listens"))
        .expect("watch");
    child.exit(12);
    let exit = said.recv_timeout(time_limit()).expect("runs");
    let status = ExitStatus::from_raw(12 << 8);
    assert_eq!(exit.status, looked_at(status));
    let exit = child.process().clone().reap().expect("own child");
    assert_eq!(exit.status, Some(status));
    assert_eq!(watched.try_wait().expect("poll"), Some(exit));
    assert_eq!(Told::by(&watcher, &watched).0.exit(), exit);
}
