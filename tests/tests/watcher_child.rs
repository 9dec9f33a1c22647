//! A child that is owned and reaped on drop; its descriptor, its equals, what it has used, and its
//! stops.

#![allow(
    clippy::mutable_key_type,
    reason = "what a handle learns later changes neither its hash nor its equals"
)]

use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use pidfd_watcher::{Change, ChildProcess, Error, Process, Signal};
use workspace_tests::fork::Fork;
use workspace_tests::namespace::{few_numbers, kernel};
use workspace_tests::target::{grandchild, sleeper};
use workspace_tests::{
    alone, alone_in_pid_namespace, fd_limit, proc_fs, seccomp, time_limit, until,
};

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).stdin(Stdio::null());
    command
}

fn owned(script: &str) -> ChildProcess {
    ChildProcess::spawn(&mut shell(script)).expect("spawn")
}

fn number(child: &ChildProcess) -> i32 {
    child.pid().as_raw_nonzero().get()
}

fn no_children() {
    let own = std::process::id().cast_signed();
    until("reaped", || {
        proc_fs::children_of(own).is_empty().then_some(())
    });
}

// Owned.

#[test]
fn owned_child_is_waited_for_and_reaped() {
    alone!({
        let mut child = owned("exit 7");
        let exit = child.wait().expect("wait");
        assert_eq!(exit.status.expect("own child").code(), Some(7));
        assert_eq!(proc_fs::children_of(std::process::id().cast_signed()), []);
        assert_eq!(child.wait().expect("once more"), exit);
        assert_eq!(child.try_wait().expect("once more"), Some(exit));
        child.kill().expect("dead already");
    });
}

/// As std's wait does: a child that reads to the end would wait for us.
#[test]
fn wait_closes_the_childs_input_and_the_pipes_are_there() {
    alone!({
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = ChildProcess::spawn(&mut command).expect("spawn");
        assert_eq!(child.wait_timeout(Duration::ZERO).expect("wait"), None);
        assert!(child.stdin.is_none(), "closed");
        assert!(child.wait().expect("wait").status.expect("ours").success());

        let mut child = ChildProcess::spawn(&mut command).expect("spawn");
        let mut input = child.stdin.take().expect("piped");
        input.write_all(b"there and back").expect("write");
        drop(input);
        let mut said = String::new();
        child
            .stdout
            .take()
            .expect("piped")
            .read_to_string(&mut said)
            .expect("read");
        assert_eq!(said, "there and back");
        assert!(child.wait().expect("wait").status.expect("ours").success());
    });
}

#[test]
fn dropped_child_is_left_alone_and_leaves_no_zombie() {
    alone!({
        let child = owned("exec sleep 1000");
        let process = child.process().clone();
        drop(child);
        assert_eq!(process.try_wait().expect("poll"), None, "it was not killed");
        process.send_signal(Signal::KILL).expect("own child");
        no_children();
        // One that is dead already is reaped on the spot.
        let child = owned("exit 3");
        child
            .process()
            .wait_timeout(time_limit())
            .expect("poll")
            .expect("dead");
        drop(child);
        assert_eq!(proc_fs::children_of(std::process::id().cast_signed()), []);
    });
}

#[test]
fn child_that_is_to_be_killed_on_drop_is_gone() {
    alone!({
        let child = owned("exec sleep 1000").kill_on_drop(true);
        let process = child.process().clone();
        drop(child);
        let exit = process
            .wait_timeout(time_limit())
            .expect("poll")
            .expect("killed");
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(exit.status.expect("ours").signal(), Some(libc::SIGKILL));
        no_children();
    });
}

#[test]
fn child_that_was_taken_out_is_the_callers_to_reap() {
    alone!({
        let process = owned("exit 7").into_process();
        process
            .wait_timeout(time_limit())
            .expect("poll")
            .expect("dead");
        let exit = process.reap().expect("nobody else did");
        assert_eq!(exit.status.expect("ours").code(), Some(7));
    });
}

#[test]
fn child_that_was_waited_for_is_given_back_with_the_reason() {
    alone!({
        let mut child = shell("exit 7").spawn().expect("spawn");
        child.wait().expect("wait");
        let mut failed = ChildProcess::new(child).expect_err("it was reaped");
        assert!(matches!(failed.error, Error::NotChild(_)), "{failed}");
        assert_eq!(failed.child.wait().expect("known").code(), Some(7));
    });
}

#[test]
fn child_that_no_handle_is_to_be_had_of_is_killed_and_reaped() {
    alone!({
        seccomp::refuse(&[(libc::SYS_pidfd_open, libc::EMFILE)]);
        let error = ChildProcess::spawn(&mut shell("exec sleep 1000")).expect_err("no handle");
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        assert_eq!(proc_fs::children_of(std::process::id().cast_signed()), []);
    });
}

/// A copy of the process, made by fork, is nobody's parent.
#[test]
fn copy_made_by_fork_that_drops_an_owned_child_does_nothing_to_it() {
    alone!({
        let mut child = std::mem::ManuallyDrop::new(owned("exec sleep 1000"));
        // SAFETY: the copy's own; the parent's is still whole.
        Fork::run(|| unsafe { std::mem::ManuallyDrop::drop(&mut child) }).succeeds();
        let mut child = std::mem::ManuallyDrop::into_inner(child);
        assert_eq!(child.try_wait().expect("poll"), None);
        child.kill().expect("own child");
        child.wait().expect("wait");
        no_children();
    });
}

// The descriptor, and equals.

#[test]
fn descriptor_is_the_handles_own_and_a_duplicate_where_it_is_shared() {
    alone!({
        let mut child = sleeper();
        let process = Process::from_child(&mut child).expect("own child");
        let number = process.as_fd().as_raw_fd();
        let clone = process.clone();
        let duplicate = process.into_owned_fd().expect("a number");
        assert_ne!(duplicate.as_raw_fd(), number);
        let own = clone.into_owned_fd().expect("no new number");
        assert_eq!(own.as_raw_fd(), number);
        for fd in [duplicate, own] {
            let flags = rustix::io::fcntl_getfd(&fd).expect("open");
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
            let again = Process::from_pidfd(fd).expect("a pidfd");
            assert_eq!(again.pid().as_raw_nonzero().get(), child.id().cast_signed());
        }
        let process = Process::from_child(&mut child).expect("own child");
        let shared = process.clone();
        let error = fd_limit::with(64, || {
            let _no_more = fd_limit::fill();
            shared.into_owned_fd().expect_err("no number")
        });
        assert!(matches!(error, Error::TooManyOpenFiles(_)), "{error}");
    });
}

#[test]
fn handles_are_equal_if_they_name_the_same_process() {
    alone!({
        let (mut one, mut other) = (sleeper(), sleeper());
        let process = Process::from_child(&mut one).expect("own child");
        let again = Process::open(process.pid()).expect("own child");
        let stranger = Process::from_child(&mut other).expect("own child");
        assert_eq!(process, process.clone());
        assert_ne!(process, stranger);
        let mut set: HashSet<Process> = [process.clone(), stranger.clone()].into();
        assert!(set.contains(&process) && !set.insert(process.clone()));
        assert_eq!(process == again, kernel() >= (6, 9));
        assert_eq!(set.contains(&again), kernel() >= (6, 9));
        // And when it was reaped.
        process.send_signal(Signal::KILL).expect("own child");
        process
            .wait_timeout(time_limit())
            .expect("poll")
            .expect("dead");
        process.clone().reap().expect("own child");
        assert_eq!(process == again, kernel() >= (6, 9));
        assert!(set.contains(&process));
    });
}

/// As before Linux 6.9, by a filter: a handle is equal to its clones alone, and stays so.
#[test]
fn where_nothing_tells_processes_apart_a_handle_is_equal_to_its_clones_alone() {
    alone!({
        let mut child = sleeper();
        let process = Process::from_child(&mut child).expect("own child");
        seccomp::refuse(&[(libc::SYS_fstatfs, libc::ENOSYS)]);
        let again = Process::open(process.pid()).expect("own child");
        assert_eq!(process, process.clone());
        assert_ne!(process, again);
        let set: HashSet<Process> = [process.clone()].into();
        assert!(set.contains(&process.clone()) && !set.contains(&again));
    });
}

#[test]
fn newcomer_with_a_recycled_number_is_not_equal() {
    alone_in_pid_namespace!({
        if !few_numbers() {
            return;
        }
        until("numbers that come again", || {
            (sleeper().id() > 300).then_some(())
        });
        let (mut dead, old) = {
            let mut child = sleeper();
            let process = Process::from_child(&mut child).expect("own child");
            (child, process)
        };
        dead.stdin = None;
        dead.wait_deadline();
        let mut newcomer = until("number comes round", || {
            let child = sleeper();
            (child.id() == dead.id()).then_some(child)
        });
        let new = Process::from_child(&mut newcomer).expect("own child");
        assert_eq!(new.pid(), old.pid());
        assert_ne!(new, old);
        assert!(!HashSet::from([old]).contains(&new));
    });
}

// What it has used.

#[test]
fn usage_of_a_child_comes_with_its_reaping_and_counts_what_it_waited_for() {
    alone!({
        let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let script = format!("sh -c '{busy}'; exit 7");
        let process = owned(&script).into_process();
        process
            .wait_timeout(time_limit())
            .expect("poll")
            .expect("ends");
        let clone = process.clone();
        let (exit, usage) = process.reap_with_usage().expect("own child");
        assert_eq!(exit.status.expect("ours").code(), Some(7));
        let usage = usage.expect("we have reaped it");
        assert!(
            usage.user_time + usage.system_time > Duration::ZERO,
            "{usage:?}"
        );
        assert!(
            usage.user_time + usage.system_time < time_limit(),
            "{usage:?}"
        );
        assert!(
            usage.max_rss > 100 << 10 && usage.max_rss < 1 << 40,
            "{usage:?}"
        );
        assert!(usage.minor_faults > 0, "{usage:?}");
        // Told once: the kernel has forgotten it.
        let (again, none) = clone.reap_with_usage().expect("known");
        assert_eq!((again, none), (exit, None));
    });
}

#[test]
fn status_that_comes_with_the_usage_is_exact() {
    alone!({
        use std::os::unix::process::ExitStatusExt;
        for (script, raw) in [
            ("exit 255", 0xff00),
            ("kill -KILL $$", 9),
            ("ulimit -c 0; kill -SEGV $$", 11),
        ] {
            let process = owned(script).into_process();
            process
                .wait_timeout(time_limit())
                .expect("poll")
                .expect("ends");
            let (exit, _) = process.reap_with_usage().expect("own child");
            assert_eq!(exit.status.expect("ours").into_raw(), raw, "{script}");
        }
        let process = owned("exec sleep 1000");
        let failed = process
            .process()
            .clone()
            .reap_with_usage()
            .expect_err("it lives");
        assert!(matches!(failed.error, Error::NotReady(_)), "{failed}");
        process.kill().expect("own child");
    });
}

// Stops.

#[test]
fn stop_and_continue_of_a_child_are_told_once_and_its_exit_for_ever() {
    alone!({
        // In a group of its own: the kernel drops SIGTSTP where the whole group is orphaned.
        let mut command = shell("exec sleep 1000");
        let child = ChildProcess::spawn(command.process_group(0)).expect("spawn");
        let process = child.process();
        assert_eq!(process.try_change().expect("ask"), None);
        for signal in [Signal::STOP, Signal::TSTP] {
            process.send_signal(signal).expect("own child");
            assert_eq!(
                process.wait_change().expect("wait"),
                Change::Stopped(signal)
            );
            assert_eq!(process.try_change().expect("ask"), None, "told once");
            process.send_signal(Signal::CONT).expect("own child");
            assert_eq!(process.wait_change().expect("wait"), Change::Continued);
            assert_eq!(process.try_change().expect("ask"), None);
        }
        process.send_signal(Signal::STOP).expect("own child");
        process.send_signal(Signal::KILL).expect("own child");
        let end = loop {
            match process.wait_change().expect("wait") {
                Change::Exited(exit) => break exit,
                stopped => assert_eq!(stopped, Change::Stopped(Signal::STOP)),
            }
        };
        assert!(proc_fs::stat(number(&child)).expect("a zombie").is_zombie());
        assert_eq!(
            process.try_change().expect("ask"),
            Some(Change::Exited(end))
        );
        process.clone().reap().expect("own child");
        assert_eq!(
            process.try_change().expect("ask"),
            Some(Change::Exited(end))
        );
    });
}

#[test]
fn change_of_a_process_that_is_no_child_is_its_exit_alone() {
    alone!({
        let (parent, process) = grandchild(7);
        for error in [
            process.try_change().expect_err("no child"),
            process.wait_change().expect_err("no child"),
        ] {
            assert!(matches!(error, Error::NotChild(_)), "{error}");
        }
        drop(parent);
        process.send_signal(Signal::KILL).ok();
        process
            .wait_timeout(time_limit())
            .expect("poll")
            .expect("dead");
        let change = process.try_change().expect("ask");
        assert!(matches!(change, Some(Change::Exited(_))), "{change:?}");
    });
}
