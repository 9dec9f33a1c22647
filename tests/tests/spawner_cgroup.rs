//! A child in a cgroup of version 2: it is born there or moves there first, and all that it starts
//! stays there.

use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use shim_spawner::{
    Cgroup, CgroupError, ShimSpawner, Signal, SpawnError, Stage, Stdio, Supervisor,
};
use workspace_tests::clone_method::{CloneMethod, method};
use workspace_tests::fork::Fork;
use workspace_tests::spawn_case::{
    become_nobody, ends_well, fails, needs_root, output, spawner_of,
};
use workspace_tests::{
    Guard, alone, by_every_method, proc_fs, random, reaped, seccomp, time_limit, until,
};

/// A cgroup of a case's own. What is in it when the case ends, however that is, is killed.
struct Own(Option<Cgroup>);

impl Own {
    fn take(&mut self) -> Cgroup {
        self.0.take().expect("taken once")
    }
}

impl Deref for Own {
    type Target = Cgroup;
    fn deref(&self) -> &Cgroup {
        self.0.as_ref().expect("not taken")
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if let Some(cgroup) = &self.0 {
            let _ = cgroup.kill();
            let _ = cgroup.wait_empty(time_limit());
        }
    }
}

/// A new cgroup of a name that no other test has; `None` where none can be made, which is said.
fn cgroup() -> Option<Own> {
    let name = format!("workspace-tests-{:x}", random().u64(..));
    let made = Cgroup::make(name);
    if let Err(error) = &made {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        let cause = cause.unwrap_or_default();
        eprintln!("skipped: no cgroup of version 2 can be made here: {error}: {cause}");
    }
    made.ok().map(|made| Own(Some(made)))
}

fn fd(cgroup: &Cgroup) -> OwnedFd {
    cgroup.as_fd().try_clone_to_owned().expect("dup")
}

fn name(cgroup: &Cgroup) -> String {
    let name = cgroup.path().file_name().expect("a name");
    name.to_str().expect("text").to_owned()
}

/// The line of version 2 in /proc/PID/cgroup.
fn cgroup_of(list: &str) -> &str {
    let line = list.lines().find_map(|line| line.strip_prefix("0::"));
    line.expect("version 2")
}

#[track_caller]
fn is(error: &SpawnError, stage: Stage, errno: i32) {
    let seen = (error.stage(), error.raw_os_error());
    assert_eq!(seen, (stage, Some(errno)), "{error}");
}

fn errno<T: std::fmt::Debug>(result: Result<T, CgroupError>) -> Option<i32> {
    result.expect_err("refused").raw_os_error()
}

by_every_method!(
    fn child_is_in_the_cgroup_that_was_asked_for_and_the_spawner_is_not() {
        let Some(cgroup) = cgroup() else { return };
        let mut spawner = spawner_of("/bin/cat");
        let list = output(spawner.arg("/proc/self/cgroup").cgroup(fd(&cgroup)));
        assert!(cgroup_of(&list).ends_with(&name(&cgroup)), "{list}");
        let own = fs::read_to_string("/proc/self/cgroup").expect("own cgroup");
        assert!(!cgroup_of(&own).ends_with(&name(&cgroup)), "{own}");
    }
);

by_every_method!(
    /// The child of clone3 opens nothing for that; the others open `cgroup.procs`.
    fn kernel_puts_the_child_there_where_it_can() {
        let Some(cgroup) = cgroup() else { return };
        let mut spawner = spawner_of("/bin/true");
        spawner.cgroup(fd(&cgroup)).detached(true);
        Fork::run(|| {
            seccomp::refuse(&[(libc::SYS_openat, libc::EACCES)]);
            match spawner.spawn() {
                Ok(shim) => {
                    assert_eq!(method(), CloneMethod::Clone3);
                    reaped(shim.child.process());
                }
                Err(error) => {
                    assert_ne!(method(), CloneMethod::Clone3);
                    is(&error, Stage::Cgroup, libc::EACCES);
                }
            }
        })
        .succeeds();
    }
);

by_every_method!(
    fn cgroup_that_this_process_may_not_write_to_is_refused() {
        if !needs_root() {
            return;
        }
        let Some(cgroup) = cgroup() else { return };
        Fork::run(|| {
            become_nobody();
            let mut spawner = spawner_of("/bin/true");
            let error = fails("another's", spawner.cgroup(fd(&cgroup)));
            is(&error, Stage::Cgroup, libc::EACCES);
        })
        .succeeds();
    }
);

by_every_method!(
    fn unprivileged_process_may_use_a_cgroup_that_was_delegated_to_it() {
        if !needs_root() {
            return;
        }
        let Some(outer) = cgroup() else { return };
        let files = [
            "",
            "cgroup.procs",
            "cgroup.subtree_control",
            "cgroup.threads",
        ];
        for file in files {
            std::os::unix::fs::chown(outer.path().join(file), Some(65_534), Some(65_534))
                .expect("chown");
        }
        // A process goes from one cgroup of the delegated tree to another.
        let inner = Cgroup::make_in(outer.path(), "inner").expect("make");
        std::os::unix::fs::chown(inner.path().join("cgroup.procs"), Some(65_534), None)
            .expect("chown");
        Fork::run(|| {
            let procs = outer.path().join("cgroup.procs");
            fs::write(procs, "0").expect("move");
            become_nobody();
            let mut spawner = spawner_of("/bin/cat");
            let list = output(spawner.arg("/proc/self/cgroup").cgroup(fd(&inner)));
            assert!(cgroup_of(&list).ends_with("/inner"), "{list}");
            let own = Cgroup::make_in(outer.path(), "own").expect("make one");
            ends_well(
                &spawner_of("/bin/true")
                    .cgroup(fd(&own))
                    .spawn()
                    .expect("spawn"),
            );
            own.remove().expect("remove");
        })
        .succeeds();
    }
);

by_every_method!(
    fn what_is_no_cgroup_is_refused() {
        let folder = fs::File::open("/tmp").expect("open");
        let mut spawner = spawner_of("/bin/true");
        is(
            &fails("a folder", spawner.cgroup(folder)),
            Stage::Cgroup,
            libc::ENOENT,
        );
        let null = fs::File::open("/dev/null").expect("open");
        let mut spawner = spawner_of("/bin/true");
        is(
            &fails("a file", spawner.cgroup(null)),
            Stage::Cgroup,
            libc::ENOTDIR,
        );
    }
);

by_every_method!(
    fn cgroup_that_was_removed_is_refused() {
        let Some(mut cgroup) = cgroup() else { return };
        let held = fd(&cgroup);
        cgroup.take().remove().expect("remove");
        let mut spawner = spawner_of("/bin/true");
        let error = fails("removed", spawner.cgroup(held));
        assert_eq!(error.stage(), Stage::Cgroup, "{error}");
        let errno = error.raw_os_error().expect("a number");
        assert!([libc::ENODEV, libc::ENOENT].contains(&errno), "{errno}");
    }
);

by_every_method!(
    /// Beside a threaded one, a cgroup takes no processes before it is threaded itself.
    fn cgroup_that_is_an_invalid_domain_is_refused() {
        let Some(outer) = cgroup() else { return };
        let threaded = Cgroup::make_in(outer.path(), "threaded").expect("make");
        fs::write(threaded.path().join("cgroup.type"), "threaded").expect("threaded");
        let invalid = Cgroup::make_in(outer.path(), "invalid").expect("make");
        let mut spawner = spawner_of("/bin/true");
        let error = fails("invalid", spawner.cgroup(fd(&invalid)));
        is(&error, Stage::Cgroup, libc::EOPNOTSUPP);
    }
);

/// A shell that starts two more in sessions of their own, and says how many there are.
fn tree(cgroup: &Cgroup) -> ShimSpawner {
    let mut shell = spawner_of("/bin/sh");
    let sleeper = "setsid sh -c 'trap \"\" TERM; sleep 1000 & wait; sleep 1000' &";
    shell
        .args(["-c", &format!("{sleeper} {sleeper} echo ready; sleep 1000")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .cgroup(fd(cgroup));
    shell
}

by_every_method!(
    fn kill_reaches_all_that_the_child_has_started() {
        let Some(mut cgroup) = cgroup() else { return };
        assert!(!cgroup.is_populated().expect("look"));
        let mut shim = tree(&cgroup).spawn().expect("spawn");
        let mut said = BufReader::new(shim.child.stdout.take().expect("piped")).lines();
        assert_eq!(said.next().expect("a line").expect("read"), "ready");
        until("two sessions of two, and the child", || {
            (cgroup.pids().expect("list").len() >= 5).then_some(())
        });
        let members = cgroup.pids().expect("list");
        assert!(cgroup.is_populated().expect("look"));
        assert_eq!(
            errno(Cgroup::make_in(
                cgroup.path().parent().expect("a parent"),
                name(&cgroup)
            )),
            Some(libc::EEXIST)
        );
        cgroup.kill().expect("kill");
        assert!(cgroup.wait_empty(time_limit()).expect("wait"));
        for pid in members {
            assert!(!proc_fs::is_running(pid.as_raw_nonzero().get()));
        }
        reaped(shim.child.process());
        let path = cgroup.path().to_owned();
        cgroup.take().remove().expect("remove");
        assert!(!path.exists());
    }
);

#[test]
fn signal_reaches_the_members_and_those_below_and_nobody_else() {
    alone!({
        let Some(cgroup) = cgroup() else { return };
        let below = Cgroup::make_in(cgroup.path(), "below").expect("make");
        let shims = [&*cgroup, &below].map(|cgroup| {
            let mut spawner = ShimSpawner::new("/bin/cat");
            spawner
                .stdin(Stdio::piped())
                .cgroup(fd(cgroup))
                .spawn()
                .expect("spawn")
        });
        let mut other = Guard::spawn(std::process::Command::new("/bin/sleep").arg("1000"));
        assert_eq!(cgroup.pids().expect("list").len(), 2);
        cgroup.signal(Signal::TERM).expect("signal");
        for shim in &shims {
            use std::os::unix::process::ExitStatusExt;
            let status = reaped(shim.child.process()).status.expect("own child");
            assert_eq!(status.signal(), Some(libc::SIGTERM));
        }
        assert!(other.try_wait().expect("wait").is_none());
    });
}

#[test]
fn cgroup_in_use_is_not_removed_and_its_processes_live() {
    alone!({
        let Some(mut cgroup) = cgroup() else { return };
        let path = cgroup.path().to_owned();
        let mut spawner = ShimSpawner::new("/bin/cat");
        let mut shim = spawner
            .stdin(Stdio::piped())
            .cgroup(fd(&cgroup))
            .spawn()
            .expect("spawn");
        drop(cgroup.take());
        assert!(path.exists());
        assert_eq!(
            errno(Cgroup::open(&path).expect("open").remove()),
            Some(libc::EBUSY)
        );
        let began = Instant::now();
        let short = Duration::from_millis(50);
        assert!(
            !Cgroup::open(&path)
                .expect("open")
                .wait_empty(short)
                .expect("wait")
        );
        assert!(began.elapsed() >= short);
        drop(shim.child.stdin.take());
        ends_well(&shim);
        Cgroup::open(&path).expect("open").remove().expect("remove");
    });
}

#[test]
fn dropped_cgroup_is_removed_by_the_process_that_made_it() {
    alone!({
        let Some(mut made) = cgroup() else { return };
        let cgroup = made.take();
        let path = cgroup.path().to_owned();
        let below = Cgroup::make_in(&path, "below").expect("make");
        std::mem::forget(below);
        drop(Cgroup::open(&path).expect("open"));
        assert!(path.exists(), "by one that was opened");
        let mut cgroup = Some(cgroup);
        Fork::run(|| drop(cgroup.take())).succeeds();
        assert!(path.exists(), "by a copy");
        drop(cgroup);
        assert!(!path.exists(), "with the one below");
    });
}

/// The supervisor is in it, with the program.
#[test]
fn supervisor_and_program_are_in_the_cgroup() {
    alone!({
        let Some(cgroup) = cgroup() else { return };
        let mut spawner = ShimSpawner::new("/bin/sleep");
        spawner
            .arg("1000")
            .cgroup(fd(&cgroup))
            .supervised(Supervisor::at(env!("CARGO_BIN_EXE_shim_under_test")));
        let mut shim = shim_spawner::ShimHandler::new(spawner.spawn().expect("spawn"));
        until("OUTER, STANDBY, INNER and the program", || {
            (cgroup.pids().expect("list").len() == 4).then_some(())
        });
        let _ = shim.stop().expect("stop");
        assert!(cgroup.wait_empty(time_limit()).expect("wait"));
    });
}
