//! The process group that a process leads, by its handle.

use std::os::unix::process::CommandExt;

use pidfd_watcher::{Error, Pid, Process, Signal};
use workspace_tests::fork::Fork;
use workspace_tests::namespace::{kernel, mount_empty_proc, unshare_mounts};
use workspace_tests::orders::Order;
use workspace_tests::target::{grandchild, target};
use workspace_tests::{Guard, alone, alone_in_pid_namespace, fd_limit, seccomp, time_limit};

/// A child in the group with this number; 0: it leads one.
fn child_in(group: i32) -> (Guard, Process) {
    let mut command = target(&Order::ExitAtEof { code: 7 });
    let mut child = Guard::spawn(command.process_group(group));
    let process = Process::from_child(&mut child).expect("own child");
    (child, process)
}

fn number(process: &Process) -> i32 {
    process.pid().as_raw_nonzero().get()
}

fn end(process: &Process) {
    let ended = process.wait_timeout(time_limit()).expect("poll");
    ended.expect("ends before the deadline");
}

fn members_of(leader: &Process) -> Vec<i32> {
    let members = leader.group_members().expect("/proc");
    let mut numbers: Vec<i32> = members.iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

fn not_found(result: Result<(), Error>) {
    let error = result.expect_err("nobody is there");
    assert!(matches!(error, Error::NotFound(_)), "{error}");
}

fn unsupported<T: std::fmt::Debug>(result: Result<T, Error>) {
    let error = result.expect_err("nothing proves it");
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
}

#[test]
fn signal_reaches_every_member_and_nobody_else() {
    alone_in_pid_namespace!({
        for () in seccomp::each_way_to_a_group() {
            let (_leader, leader) = child_in(0);
            let (_member, member) = child_in(number(&leader));
            let (mut other, _) = child_in(0);
            assert!(leader.group_exists().expect("asked"));
            let mut both = [number(&leader), number(&member)];
            both.sort_unstable();
            assert_eq!(members_of(&leader), both);
            leader
                .send_signal_to_group(Signal::KILL)
                .expect("own children");
            end(&leader);
            end(&member);
            // They are zombies, which are members and do not live.
            assert!(leader.group_exists().expect("asked"));
            assert!(members_of(&leader).is_empty());
            other.stdin = None;
            assert_eq!(other.wait_deadline().code(), Some(7));
        }
    });
}

#[test]
fn group_outlives_its_leader_in_its_handle() {
    alone_in_pid_namespace!({
        let (_leader, leader) = child_in(0);
        let (_member, member) = child_in(number(&leader));
        leader.send_signal(Signal::KILL).expect("own child");
        end(&leader);
        leader.clone().reap().expect("own child");
        assert_eq!(leader.names_group_without_leader(), kernel() >= (6, 9));
        if kernel() >= (6, 9) {
            assert!(leader.group_exists().expect("asked"));
            assert_eq!(members_of(&leader), [number(&member)]);
            leader
                .send_signal_to_group(Signal::KILL)
                .expect("own child");
            end(&member);
            member.reap().expect("own child");
            assert!(!leader.group_exists().expect("asked"));
            assert!(members_of(&leader).is_empty());
            not_found(leader.send_signal_to_group(Signal::KILL));
        }
    });
}

/// As before Linux 6.9, by a filter.
#[test]
fn group_of_a_reaped_leader_is_unknown_where_the_handle_does_not_name_it() {
    alone_in_pid_namespace!({
        seccomp::refuse_groups_by_pidfd();
        let (_leader, leader) = child_in(0);
        let (_member, member) = child_in(number(&leader));
        leader.send_signal(Signal::KILL).expect("own child");
        end(&leader);
        leader.clone().reap().expect("own child");
        assert!(!leader.names_group_without_leader());
        unsupported(leader.group_exists());
        unsupported(leader.group_members());
        unsupported(leader.send_signal_to_group(Signal::KILL));
        assert_eq!(member.try_wait().expect("poll"), None);
        // No group has the number now: that much is certain.
        member.send_signal(Signal::KILL).expect("own child");
        end(&member);
        member.reap().expect("own child");
        assert!(!leader.group_exists().expect("asked"));
    });
}

/// The same for the child of another: it may be reaped between a look and a signal.
#[test]
fn group_of_somebody_elses_child_is_not_signalled_by_its_number() {
    alone_in_pid_namespace!({
        let (_parent, process) = grandchild(7);
        Fork::run(|| {
            seccomp::refuse_groups_by_pidfd();
            unsupported(process.send_signal_to_group(Signal::KILL));
        })
        .succeeds();
        assert_eq!(process.try_wait().expect("poll"), None);
    });
}

#[test]
fn process_that_leads_no_group_has_none() {
    alone_in_pid_namespace!({
        for () in seccomp::each_way_to_a_group() {
            let (_leader, leader) = child_in(0);
            let (_member, member) = child_in(number(&leader));
            not_found(member.send_signal_to_group(Signal::KILL));
            assert!(!member.group_exists().expect("asked"));
            assert!(members_of(&member).is_empty());
            assert_eq!(leader.try_wait().expect("poll"), None);
        }
    });
}

/// kill(2) takes -1 for everybody.
#[test]
fn number_of_pid_1_is_never_signalled() {
    alone_in_pid_namespace!({
        seccomp::refuse_groups_by_pidfd();
        let (_child, child) = child_in(0);
        let init = Process::open(Pid::INIT).expect("this process");
        unsupported(init.send_signal_to_group(Signal::KILL));
        unsupported(init.group_exists());
        assert_eq!(child.try_wait().expect("poll"), None);
    });
}

#[test]
fn members_are_not_to_be_had_without_proc() {
    alone!({
        let (_leader, leader) = child_in(0);
        if !unshare_mounts() {
            return;
        }
        mount_empty_proc();
        unsupported(leader.group_members());
        assert!(leader.group_exists().expect("asked"));
        leader
            .send_signal_to_group(Signal::KILL)
            .expect("own child");
        end(&leader);
    });
}

/// A member of another user would be missing: that is not the same as nobody.
#[test]
fn members_are_not_to_be_had_where_proc_hides_processes() {
    alone_in_pid_namespace!({
        let (_leader, leader) = child_in(0);
        let (proc, options) = (c"proc".as_ptr(), c"hidepid=2".as_ptr());
        // SAFETY: strings that end with a zero byte; the namespace is this process's own.
        let mounted = unsafe {
            libc::mount(
                proc,
                c"/proc".as_ptr(),
                proc,
                0,
                options.cast::<libc::c_void>(),
            )
        };
        assert_eq!(mounted, 0, "{}", std::io::Error::last_os_error());
        assert_eq!(members_of(&leader), [number(&leader)]);
        Fork::run(|| {
            // SAFETY: plain numbers; this copy has one thread.
            unsafe {
                assert_eq!(libc::setresgid(65534, 65534, 65534), 0);
                assert_eq!(libc::setresuid(65534, 65534, 65534), 0);
            }
            unsupported(leader.group_members());
        })
        .succeeds();
    });
}

#[test]
fn member_that_cannot_be_read_for_want_of_a_descriptor_is_an_error_and_not_missing() {
    alone_in_pid_namespace!({
        let (_leader, leader) = child_in(0);
        let (_member, _) = child_in(number(&leader));
        fd_limit::set(32);
        let mut taken = fd_limit::fill();
        // One is free: it goes to the list of /proc, and none is left for a line.
        drop(taken.pop());
        let error = leader
            .group_members()
            .expect_err("nobody could be looked at");
        assert!(matches!(error, Error::TooManyOpenFiles(_)), "{error}");
        drop(taken);
        assert_eq!(members_of(&leader).len(), 2);
    });
}
