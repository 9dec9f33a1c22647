//! A stop is about the shim's process group or cgroup, not about the shim alone; it comes back when
//! nobody is left, and says whom it has killed. No stranger is hit.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::time::Instant;

use pidfd_watcher::Signal;
use shim_spawner::{
    ShimHandler, ShimIdentity, ShimSpawner, Stage, Stdio, StopError, StopPolicy, StopTarget,
};
use workspace_tests::cgroups::own_cgroup;
use workspace_tests::fork::Fork;
use workspace_tests::identity_text::{field, with_field};
use workspace_tests::namespace::{few_numbers, kernel, mount_empty_proc, unshare_mounts};
use workspace_tests::pack::{
    OBEDIENT, Pack, STUBBORN, code, ended, grace, is_killed, raw, spawner, wait_end,
};
use workspace_tests::target::sleeper;
use workspace_tests::{
    Guard, alone, alone_in_pid_namespace, proc_fs, random, seccomp, time_limit, until,
};

// Who is stopped.

#[test]
fn member_that_ignores_the_stop_signal_is_killed_after_the_grace_and_reported() {
    alone_in_pid_namespace!({
        let mut pack = Pack::start(&[STUBBORN], "wait");
        let start = Instant::now();
        let report = pack.stop();
        assert!(start.elapsed() >= grace(), "the grace was cut short");
        pack.is_gone();
        assert_eq!(code(&report), Some(5));
        assert_eq!(report.target(), StopTarget::Group);
        assert!(report.is_empty(), "{report:?}");
        is_killed(&report, &[&pack.members[0]]);
    });
}

#[test]
fn members_that_obey_end_the_grace_early_and_nobody_is_killed() {
    alone_in_pid_namespace!({
        // The wait for it would not end before the deadline.
        let policy = StopPolicy::new().grace(time_limit() * 10);
        let mut spawner = spawner(&[OBEDIENT, OBEDIENT], "wait");
        let mut pack = Pack::spawn(spawner.stop_policy(policy), 2);
        let report = pack.stop();
        pack.is_gone();
        assert_eq!(code(&report), Some(5));
        assert!(report.is_empty(), "{report:?}");
        is_killed(&report, &[]);
    });
}

#[test]
fn shim_alone_is_stopped_and_its_group_left_where_it_is_the_target() {
    alone_in_pid_namespace!({
        let mut spawner = spawner(&[OBEDIENT], "wait");
        let mut pack = Pack::spawn(spawner.stop_target(StopTarget::Leader), 1);
        let report = pack.stop();
        assert_eq!(code(&report), Some(5));
        assert_eq!(report.target(), StopTarget::Leader);
        assert!(!ended(&pack.members[0]), "it is none of the stop's");
        let mut handler = ShimHandler::adopt(&ShimIdentity::of(&pack.members[0]).expect("alive"))
            .expect("the same process");
        assert!(handler.stop().expect("stop").is_empty());
    });
}

fn adopted_is_stopped(identity: &ShimIdentity, pack: &Pack) {
    let mut adopted = ShimHandler::adopt(identity).expect("it lives");
    let report = adopted.stop().expect("stop");
    // Its parent has not reaped it: a zombie does not count.
    assert!(report.is_empty(), "{report:?}");
    is_killed(&report, &[&pack.members[0]]);
}

fn members_of_an_ended_shim_are_stopped() {
    let mut pack = Pack::start(&[STUBBORN, OBEDIENT], "exit 7");
    wait_end(pack.handler.process());
    let report = pack.stop();
    pack.is_gone();
    assert_eq!(code(&report), Some(7));
    assert!(report.is_empty(), "{report:?}");
    is_killed(&report, &[&pack.members[0]]);
}

#[test]
fn group_of_a_shim_that_ended_long_before_is_stopped() {
    alone_in_pid_namespace!({
        members_of_an_ended_shim_are_stopped();
    });
}

/// The handle names the group even then, since Linux 6.9. Before, nothing does, and nobody is hit.
#[test]
fn group_of_a_shim_that_was_reaped_before_is_stopped_or_left_and_never_guessed() {
    alone_in_pid_namespace!({
        let mut pack = Pack::start(&[STUBBORN], "exit 7");
        let exit = pack.handler.wait().expect("wait");
        assert_eq!(exit.status.expect("own child").code(), Some(7));
        let report = pack.stop();
        assert_eq!(code(&report), Some(7));
        if kernel() >= (6, 9) {
            pack.is_gone();
            assert!(report.is_empty(), "{report:?}");
            is_killed(&report, &[&pack.members[0]]);
        } else {
            assert_eq!(report.left().count(), None);
        }
    });
}

/// Some other code of the runtime waits for all children, as a bad library does.
#[test]
fn group_of_a_shim_that_was_reaped_elsewhere_is_stopped() {
    alone_in_pid_namespace!({
        let mut pack = Pack::start(&[STUBBORN], "exit 7");
        let mut status = 0;
        // SAFETY: a valid place for the status.
        let reaped = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        assert_eq!(reaped, raw(&pack.handler.pid()));
        let report = pack.stop();
        if kernel() >= (6, 9) {
            pack.is_gone();
            assert!(report.is_empty(), "{report:?}");
        }
    });
}

#[test]
fn group_of_a_shim_that_was_killed_is_stopped() {
    alone_in_pid_namespace!({
        let mut pack = Pack::start(&[STUBBORN], "wait");
        pack.handler.signal(Signal::KILL).expect("own child");
        let report = pack.stop();
        pack.is_gone();
        assert!(report.is_empty(), "{report:?}");
        is_killed(&report, &[&pack.members[0]]);
    });
}

#[test]
fn stopped_member_is_continued_so_that_it_can_obey() {
    alone_in_pid_namespace!({
        let mut pack = Pack::start(&[OBEDIENT], "wait");
        pack.members[0].send_signal(Signal::STOP).expect("it lives");
        until("stopped", || {
            (proc_fs::stat(raw(&pack.members[0].pid()))?.state == 'T').then_some(())
        });
        let report = pack.stop();
        pack.is_gone();
        is_killed(&report, &[]);
    });
}

/// Each gives two more on its way, a few times: the last ones ignore SIGTERM.
#[test]
fn members_that_fork_while_they_are_stopped_are_all_gone() {
    const FORKS: &str = "sh -c 'again() { trap \"\" TERM; sleep 1000 & sleep 1000 & exit; }; \
                         trap again TERM; echo forks $$; while :; do sleep 0.01; done' &";
    alone_in_pid_namespace!({
        for _ in 0..5 {
            let mut pack = Pack::start(&[FORKS, FORKS, FORKS], "wait");
            let report = pack.stop();
            assert!(report.is_empty(), "{report:?}");
            // Who is born while they are counted may be missing there.
            assert!(report.killed().count() >= Some(1), "{report:?}");
            let living = proc_fs::all().into_iter().filter(|stat| !stat.is_zombie());
            let living: Vec<_> = living.map(|stat| stat.pid).collect();
            assert_eq!(living, [1], "this process alone");
        }
    });
}

/// It forks and ends without pause, so that a look at /proc may miss it.
#[test]
fn member_that_forks_for_ever_is_gone() {
    const COMET: &str = "sh -c 'trap \"\" TERM; echo $$; f() { (f &); }; f' &";
    alone_in_pid_namespace!({
        let mut spawner = spawner(&[], &format!("{COMET} wait"));
        let mut handler = ShimHandler::new(spawner.spawn().expect("spawn"));
        let mut lines = BufReader::new(handler.take_stdout().expect("piped")).lines();
        lines.next().expect("a line").expect("read");
        let group = handler.pid();
        let forks = raw(&group) + 100;
        until("it forks", || {
            let mut all = proc_fs::all().into_iter();
            all.any(|stat| stat.pgrp == raw(&group) && stat.pid > forks)
                .then_some(())
        });
        assert!(handler.stop().expect("stop").is_empty());
        // Whoever had forked before SIGKILL has died of it; nobody is born any more.
        until("the last ones are dead", || {
            let mut all = proc_fs::all().into_iter();
            let lives = all.any(|stat| stat.pgrp == raw(&group) && !stat.is_zombie());
            (!lives).then_some(())
        });
    });
}

#[test]
fn kill_is_about_the_group_too() {
    alone_in_pid_namespace!({
        let mut pack = Pack::start(&[STUBBORN], "wait");
        pack.handler.kill().expect("kill");
        wait_end(&pack.members[0]);
        pack.handler.wait().expect("wait");
        pack.handler.kill().expect("nobody to kill");
    });
}

#[test]
fn signal_is_for_the_shim_alone() {
    alone_in_pid_namespace!({
        let mut pack = Pack::start(&[OBEDIENT], "wait");
        pack.handler.signal(Signal::TERM).expect("own child");
        let exit = pack.handler.wait().expect("wait");
        assert_eq!(exit.status.expect("own child").code(), Some(5));
        assert!(!ended(&pack.members[0]));
        let gone = pack.handler.signal(Signal::TERM).expect_err("reaped");
        assert!(matches!(gone, pidfd_watcher::Error::NotFound(_)), "{gone}");
    });
}

#[test]
fn wait_that_is_timed_ends_with_the_time_or_with_the_shim() {
    alone_in_pid_namespace!({
        let mut pack = Pack::start(&[], "read line; exit 5");
        let _members = &pack.members;
        let exit = pack.handler.wait_timeout(time_limit()).expect("wait");
        assert_eq!(
            exit.expect("ended").status.expect("own child").code(),
            Some(5)
        );
        let mut lives = Pack::start(&[OBEDIENT], "wait");
        let start = Instant::now();
        assert_eq!(lives.handler.wait_timeout(grace()).expect("wait"), None);
        assert!(start.elapsed() >= grace());
        assert!(lives.stop().is_empty());
    });
}

// Which handler.

#[test]
fn group_of_a_released_shim_is_stopped() {
    alone_in_pid_namespace!({
        let mut pack = Pack::start(&[STUBBORN], "wait");
        pack.handler.release().expect("release");
        let report = pack.stop();
        pack.is_gone();
        is_killed(&report, &[&pack.members[0]]);
    });
}

#[test]
fn group_of_a_detached_shim_is_stopped_by_another_runtime_that_has_adopted_it() {
    alone_in_pid_namespace!({
        let mut spawner = spawner(&[STUBBORN], "wait");
        let pack = Pack::spawn(spawner.detached(true), 1);
        let identity = pack.handler.identity().expect("alive");
        assert_eq!(identity.stop_target(), Some(StopTarget::Group));
        assert_eq!(field(&identity.to_string(), "stop-target"), Some("group"));
        Fork::run(|| {
            adopted_is_stopped(&identity, &pack);
        })
        .succeeds();
        pack.is_gone();
    });
}

#[test]
fn identity_from_before_there_were_targets_names_the_shim_alone() {
    alone_in_pid_namespace!({
        let pack = Pack::start(&[OBEDIENT], "wait");
        let text = pack.handler.identity().expect("alive").to_string();
        let old: ShimIdentity = with_field(&text, "stop-target", None).parse().expect("old");
        assert_eq!(old.stop_target(), None);
        let mut adopted = ShimHandler::adopt(&old).expect("it lives");
        let report = adopted.stop().expect("stop");
        assert_eq!(report.target(), StopTarget::Leader);
        assert!(!ended(&pack.members[0]));
        for damaged in ["", "Group", "all", "leader group"] {
            let damaged = with_field(&text, "stop-target", Some(damaged));
            let error = damaged.parse::<ShimIdentity>().expect_err("damaged");
            assert_eq!(error.field(), Some("stop-target"));
        }
    });
}

// Kernels before 6.9, by a filter that answers as they do.

#[test]
fn group_is_stopped_by_its_number_where_the_pidfd_does_not_name_it() {
    alone_in_pid_namespace!({
        seccomp::refuse_groups_by_pidfd();
        members_of_an_ended_shim_are_stopped();
    });
}

#[test]
fn group_of_an_adopted_shim_is_stopped_one_by_one_where_the_pidfd_does_not_name_it() {
    alone_in_pid_namespace!({
        let pack = Pack::start(&[STUBBORN, OBEDIENT], "wait");
        let identity = pack.handler.identity().expect("alive");
        Fork::run(|| {
            seccomp::refuse_groups_by_pidfd();
            adopted_is_stopped(&identity, &pack);
        })
        .succeeds();
        pack.is_gone();
    });
}

/// Nothing proves whose the number is once the leader was reaped, so it is not signalled.
#[test]
fn number_of_a_reaped_leader_is_never_signalled() {
    alone_in_pid_namespace!({
        seccomp::refuse_groups_by_pidfd();
        let mut pack = Pack::start(&[OBEDIENT], "exit 7");
        pack.handler.wait().expect("wait");
        let report = pack.stop();
        assert_eq!(report.left().count(), None, "{report:?}");
        assert!(!report.is_empty());
        assert!(
            !ended(&pack.members[0]),
            "signalled by a number that nothing proves"
        );
    });
}

// Without /proc.

#[test]
fn group_is_stopped_without_proc_and_nobody_is_counted() {
    for old in [false, true] {
        alone!({
            if !unshare_mounts() {
                return;
            }
            if old {
                seccomp::refuse_groups_by_pidfd();
            }
            // Orphans come to this process, which reaps this one: a zombie is a member, and without
            // /proc nothing tells it from the others.
            // SAFETY: a plain number.
            assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) }, 0);
            let mut pack = Pack::start(&[STUBBORN], "wait");
            let orphan = raw(&pack.members[0].pid());
            let reaper = std::thread::spawn(move || {
                until("the orphan is reaped", || {
                    // SAFETY: no status is asked for.
                    let reaped =
                        unsafe { libc::waitpid(orphan, std::ptr::null_mut(), libc::WNOHANG) };
                    (reaped == orphan).then_some(())
                });
            });
            mount_empty_proc();
            let report = pack.stop();
            reaper.join().expect("reaped");
            wait_end(&pack.members[0]);
            assert_eq!(report.exit().status.expect("own child").code(), Some(5));
            assert!(report.is_empty(), "{report:?}");
            assert_eq!(report.killed().count(), None);
        });
    }
}

// Never a stranger.

/// The shim's number, and its group's, come again: the group that has it now is left alone.
#[test]
fn group_with_a_recycled_number_is_never_hit() {
    for old in [false, true] {
        alone_in_pid_namespace!({
            if !few_numbers() {
                return;
            }
            if old {
                seccomp::refuse_groups_by_pidfd();
            }
            until("numbers that come again", || {
                (sleeper().id() > 300).then_some(())
            });
            let mut pack = Pack::start(&[], "exit 7");
            pack.handler.wait().expect("wait");
            let stranger = until("number comes round", || {
                let mut command = workspace_tests::sleeper::sleeper(None);
                let child = Guard::spawn(&mut command);
                (child.id().cast_signed() == raw(&pack.handler.pid())).then_some(child)
            });
            let number = stranger.id().cast_signed();
            assert_eq!(proc_fs::stat(number).expect("it lives").pgrp, number);
            let report = pack.stop();
            is_killed(&report, &[]);
            // By number alone, nobody could say that the group is not ours.
            assert_eq!(report.left().count(), (!old).then_some(0));
            pack.handler.kill().expect("nobody to kill");
            assert!(proc_fs::is_running(number), "a stranger was hit");
        });
    }
}

#[test]
fn shim_that_joins_the_runtimes_group_is_stopped_alone_and_its_group_is_refused() {
    alone!({
        // SAFETY: plain numbers; a group that has a number here.
        let own = unsafe {
            assert_eq!(libc::setpgid(0, 0), 0);
            libc::getpgrp()
        };
        let mut spawner = spawner(&[], "sleep 1000");
        spawner.process_group(own);
        let error = spawner
            .stop_target(StopTarget::Group)
            .spawn()
            .expect_err("refused");
        assert_eq!(error.stage(), Stage::Arguments, "{error}");
        assert_eq!(proc_fs::children_of(std::process::id().cast_signed()), []);

        let mut spawner = ShimSpawner::new("/bin/sleep");
        let shim = spawner
            .arg("1000")
            .process_group(own)
            .spawn()
            .expect("spawn");
        let mut handler = ShimHandler::new(shim);
        let report = handler.stop().expect("stop");
        assert_eq!(report.target(), StopTarget::Leader);
        assert!(report.is_empty());
    });
}

#[test]
fn runtime_that_is_in_the_shims_group_is_refused_before_anybody_is_signalled() {
    alone!({
        let mut pack = Pack::start(&[OBEDIENT], "wait");
        Fork::run(|| {
            // SAFETY: takes no pointer.
            assert_eq!(unsafe { libc::setpgid(0, raw(&pack.handler.pid())) }, 0);
            let identity = pack.handler.identity().expect("alive");
            let mut adopted = ShimHandler::adopt(&identity).expect("alive");
            for error in [
                adopted.stop().expect_err("this process"),
                adopted.kill().expect_err("this process"),
            ] {
                assert!(matches!(error, StopError::OwnProcess), "{error}");
            }
        })
        .succeeds();
        assert!(!ended(&pack.members[0]) && !ended(pack.handler.process()));
        assert!(pack.stop().is_empty());
    });
}

/// The shim has moved to a group of others before its exec: those are not hit, and it is.
#[test]
fn shim_that_has_left_its_group_is_stopped_and_those_that_it_joined_are_not() {
    alone!({
        let other = Guard::spawn(&mut workspace_tests::sleeper::sleeper(None));
        let group = other.id().cast_signed();
        let mut spawner = ShimSpawner::new("/bin/sleep");
        spawner.arg("1000");
        // SAFETY: one system call.
        unsafe {
            spawner.pre_exec(move || {
                if libc::setpgid(0, group) == 0 {
                    Ok(())
                } else {
                    Err(std::io::Error::last_os_error())
                }
            });
        }
        let mut handler = ShimHandler::new(spawner.spawn().expect("spawn"));
        assert_eq!(
            proc_fs::stat(raw(&handler.pid())).expect("alive").pgrp,
            group
        );
        let report = handler.stop().expect("stop");
        is_killed(&report, &[]);
        assert!(report.is_empty());
        assert!(proc_fs::is_running(group));
    });
}

// A cgroup.

/// A new cgroup below this process's own; `None`, and a line that says why, where none can be made.
fn cgroup(name: &str) -> Option<CgroupGuard> {
    let made = own_cgroup().and_then(|own| {
        let folder = own.join(format!("stop-tree-{name}-{:x}", random().u64(..)));
        fs::create_dir(&folder).ok()?;
        Some(CgroupGuard(folder))
    });
    if made.is_none() {
        eprintln!("skipped: no cgroup of version 2 can be made here");
    }
    made
}

struct CgroupGuard(PathBuf);

impl CgroupGuard {
    fn folder(&self) -> fs::File {
        fs::File::open(&self.0).expect("the folder")
    }
}

impl Drop for CgroupGuard {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        until("the cgroup is empty", || fs::remove_dir(&self.0).ok());
    }
}

/// Members in sessions of their own, which no group signal reaches.
#[test]
fn cgroup_is_stopped_whatever_sessions_its_members_have() {
    const APART: &str = "setsid sh -c 'trap \"\" TERM; echo stubborn $$; exec sleep 1000' &";
    const OBEYS: &str = "setsid sh -c 'echo obedient $$; exec sleep 1000' &";
    alone!({
        let Some(cgroup) = cgroup("sessions") else {
            return;
        };
        let join = format!("echo $$ > {}/cgroup.procs; ", cgroup.0.display());
        let script = format!("trap 'exit 5' TERM; {join} {APART} {OBEYS} wait");
        let mut spawner = ShimSpawner::new("/bin/sh");
        spawner
            .args(["-c", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stop_policy(StopPolicy::new().grace(grace()))
            .stop_cgroup(cgroup.folder());
        let mut pack = Pack::spawn(&mut spawner, 2);
        let identity = pack.handler.identity().expect("alive");
        let report = pack.stop();
        pack.is_gone();
        assert_eq!(report.target(), StopTarget::Cgroup);
        assert_eq!(code(&report), Some(5));
        assert!(report.is_empty(), "{report:?}");
        assert_eq!(report.killed().count(), Some(1), "{report:?}");
        assert_eq!(identity.stop_target(), Some(StopTarget::Cgroup));
    });
}

/// Which cgroup it is does not stand in an identity, and this process's own is refused.
#[test]
fn cgroup_that_is_not_known_or_that_this_process_is_in_is_refused() {
    alone!({
        let Some(cgroup) = cgroup("own") else {
            return;
        };
        let mut pack = Pack::start(&[], "sleep 1000");
        let identity = pack.handler.identity().expect("alive");
        Fork::run(|| {
            fs::write(cgroup.0.join("cgroup.procs"), "0").expect("join");
            let mut handler = ShimHandler::adopt(&identity)
                .expect("alive")
                .stop_target(StopTarget::Cgroup);
            let error = handler.stop().expect_err("which one?");
            assert!(matches!(error, StopError::NoCgroup), "{error}");
            let mut handler = handler.stop_cgroup(cgroup.folder());
            let error = handler.stop().expect_err("this process");
            assert!(matches!(error, StopError::OwnProcess), "{error}");
        })
        .succeeds();
        assert!(!ended(pack.handler.process()), "nobody was signalled");
        assert!(pack.stop().is_empty());
    });
}

#[test]
fn target_that_cannot_be_is_refused_before_anything_starts() {
    alone!({
        let refused = |spawner: &mut ShimSpawner| {
            let error = spawner.spawn().expect_err("refused");
            assert_eq!(error.stage(), Stage::Arguments, "{error}");
            assert_eq!(proc_fs::children_of(std::process::id().cast_signed()), []);
        };
        refused(ShimSpawner::new("/bin/true").stop_target(StopTarget::Tree));
        refused(ShimSpawner::new("/bin/true").stop_target(StopTarget::Cgroup));
        for target in [StopTarget::Leader, StopTarget::Group] {
            let mut spawner = ShimSpawner::new("/bin/true");
            let supervisor = shim_spawner::Supervisor::at("/bin/true");
            refused(spawner.supervised(supervisor).stop_target(target));
        }
    });
}
