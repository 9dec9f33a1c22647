//! User, groups, root directory and privileges of a child: it has what was asked for, this process keeps what it
//! had, and a missing capability is an error of the step that lacks it.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
use shim_spawner::{
    Engine, Resource, ShimHandler, ShimIdentity, ShimSpawner, SpawnError, Stage, Stdio, Supervisor,
};
use workspace_tests::clone_method::{CloneMethod, method};
use workspace_tests::fork::Fork;
use workspace_tests::halt::Halt;
use workspace_tests::orders::Order;
use workspace_tests::spawn_case::{
    Snapshot, become_nobody, ends_well, fails, line_of, needs_root, output, spawner_of,
};
use workspace_tests::{Folder, alone, by_every_method, fd_table, random, reaped, seccomp};

const USER: u32 = 12_345;
const GROUP: u32 = 23_456;

/// What a child of the spawner is, told by the kernel.
fn status(prepare: impl FnOnce(&mut ShimSpawner)) -> String {
    let mut spawner = spawner_of("/bin/cat");
    spawner.arg("/proc/self/status");
    prepare(&mut spawner);
    output(&mut spawner)
}

/// Real, effective, saved, of files.
fn four(id: u32) -> String {
    [id, id, id, id].map(|id| id.to_string()).join(" ")
}

#[track_caller]
fn is(error: &SpawnError, stage: Stage, errno: i32) {
    let seen = (error.stage(), error.raw_os_error());
    assert_eq!(seen, (stage, Some(errno)), "{error}");
}

by_every_method!(
    fn child_has_the_user_the_group_and_the_groups_that_were_asked_for() {
        if !needs_root() {
            return;
        }
        let status = status(|spawner| {
            spawner.uid(USER).gid(GROUP).groups([7, 9]);
        });
        assert_eq!(line_of(&status, "Uid"), four(USER));
        assert_eq!(line_of(&status, "Gid"), four(GROUP));
        assert_eq!(line_of(&status, "Groups"), "7 9");
        assert_eq!(line_of(&status, "CapEff"), "0000000000000000");
    }
);

by_every_method!(
    fn groups_of_root_are_left_behind_by_a_change_of_user() {
        if !needs_root() {
            return;
        }
        // SAFETY: an array of that length.
        assert_eq!(unsafe { libc::setgroups(2, [0, 7].as_ptr()) }, 0);
        let of_user = status(|spawner| {
            spawner.uid(USER);
        });
        assert_eq!(line_of(&of_user, "Groups"), "");
        let of_group = status(|spawner| {
            spawner.gid(GROUP);
        });
        assert_eq!(line_of(&of_group, "Groups"), "0 7");
    }
);

by_every_method!(
    /// The child sets them in the same memory, on two of the ways, while other threads look.
    fn spawner_and_its_threads_keep_their_user() {
        if !needs_root() {
            return;
        }
        let uids = || {
            let tasks = fs::read_dir("/proc/self/task").expect("own threads");
            let paths = tasks.map(|task| task.expect("a thread").path().join("status"));
            let lines =
                paths.map(|path| line_of(&fs::read_to_string(path).expect("status"), "Uid"));
            lines.collect::<Vec<_>>()
        };
        thread::scope(|scope| {
            let (done, wait) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || wait.recv());
            status(|spawner| {
                spawner.uid(USER).gid(GROUP).groups([7]);
            });
            let seen = uids();
            // The sentinel's is the third.
            assert!(seen.len() >= 2, "{seen:?}");
            assert!(seen.iter().all(|uid| uid == "0 0 0 0"), "{seen:?}");
            drop(done);
        });
        assert_eq!(
            line_of(
                &fs::read_to_string("/proc/self/status").expect("status"),
                "Gid"
            ),
            "0 0 0 0"
        );
    }
);

fn dumpable() -> i32 {
    // SAFETY: takes no pointer.
    unsafe { libc::prctl(libc::PR_GET_DUMPABLE, 0, 0, 0, 0) }
}

by_every_method!(
    /// The flag belongs to the memory, which the child shares when it changes its user.
    fn spawner_stays_as_dumpable_as_it_was() {
        if !needs_root() {
            return;
        }
        for before in [1, 0] {
            // SAFETY: takes no pointer.
            let set = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, before, 0, 0, 0) };
            assert_eq!(set, 0);
            for program in ["/bin/true", "/nonexistent"] {
                let spawned = spawner_of(program).uid(USER).spawn();
                assert_eq!(spawned.is_ok(), program == "/bin/true");
                assert_eq!(dumpable(), before, "{program}");
            }
        }
    }
);

by_every_method!(
    fn spawner_stays_dumpable_when_eight_threads_spawn_at_once() {
        if !needs_root() {
            return;
        }
        for _ in 0..10 {
            thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| {
                        for _ in 0..5 {
                            let shim = spawner_of("/bin/true").uid(USER).spawn().expect("spawn");
                            reaped(shim.child.process());
                        }
                    });
                }
            });
            assert_eq!(dumpable(), 1);
        }
    }
);

by_every_method!(
    /// Not even one that shares the memory of root.
    fn child_that_has_another_user_already_cannot_be_traced_by_that_user_before_its_exec() {
        if !needs_root() {
            return;
        }
        let (give, take) = std::sync::mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(move || {
                // The first call after the change of user; this thread's own are none of these.
                give.send(Halt::at(&[libc::SYS_close_range])).expect("give");
                let shim = spawner_of("/bin/true").uid(USER).gid(GROUP).spawn();
                reaped(shim.expect("spawn").child.process());
            });
            let halt = take.recv().expect("take");
            let held = halt.next().expect("the child's call");
            let child = held.thread;
            let status = fs::read_to_string(format!("/proc/{child}/status")).expect("status");
            assert_eq!(line_of(&status, "Uid"), four(USER));
            // One that begins and ends meanwhile does not open it.
            let shim = spawner_of("/bin/true").uid(USER).spawn().expect("spawn");
            reaped(shim.child.process());
            Fork::run(|| {
                // SAFETY: plain numbers; this copy has one thread.
                unsafe {
                    assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
                    assert_eq!(libc::setresgid(GROUP, GROUP, GROUP), 0);
                    assert_eq!(libc::setresuid(USER, USER, USER), 0);
                    let null = std::ptr::null_mut::<libc::c_void>();
                    assert_eq!(libc::ptrace(libc::PTRACE_SEIZE, child, null, null), -1);
                }
                assert!(fs::File::open(format!("/proc/{child}/mem")).is_err());
            })
            .succeeds();
            held.go_on();
        });
    }
);

by_every_method!(
    fn unprivileged_process_cannot_give_its_child_another_user() {
        become_nobody();
        type Ask = fn(&mut ShimSpawner) -> &mut ShimSpawner;
        let asked: [(Stage, Ask); 4] = [
            (Stage::Uid, |spawner| spawner.uid(USER)),
            (Stage::Gid, |spawner| spawner.gid(GROUP)),
            (Stage::Groups, |spawner| spawner.groups([7])),
            (Stage::Chroot, |spawner| spawner.chroot("/usr")),
        ];
        for (stage, ask) in asked {
            let mut spawner = spawner_of("/bin/true");
            is(
                &fails("no capability", ask(&mut spawner)),
                stage,
                libc::EPERM,
            );
        }
    }
);

by_every_method!(
    fn unprivileged_process_may_name_itself() {
        become_nobody();
        let (uid, gid) = (
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw(),
        );
        let status = status(|spawner| {
            spawner.uid(uid).gid(gid);
        });
        assert_eq!(line_of(&status, "Uid"), four(uid));
    }
);

by_every_method!(
    /// Root that may change its user and not its groups, as in some containers.
    fn missing_capability_for_the_groups_is_an_error_of_the_groups() {
        if !needs_root() {
            return;
        }
        let mut held = capabilities(None).expect("capget");
        held.effective.remove(CapabilitySet::SETGID);
        held.permitted.remove(CapabilitySet::SETGID);
        set_capabilities(None, held).expect("capset");
        let error = fails("groups", spawner_of("/bin/true").uid(USER));
        is(&error, Stage::Groups, libc::EPERM);
        let error = fails("group", spawner_of("/bin/true").gid(GROUP));
        is(&error, Stage::Gid, libc::EPERM);
    }
);

by_every_method!(
    fn directory_and_program_are_ones_that_the_new_user_may_use() {
        if !needs_root() {
            return;
        }
        let folder = Folder::new();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).expect("chmod");
        let program = folder.join("program");
        fs::copy("/bin/true", &program).expect("copy");
        assert!(output(spawner_of("/bin/true").current_dir(folder.path())).is_empty());
        let error = fails(
            "directory",
            spawner_of("/bin/true").uid(USER).current_dir(folder.path()),
        );
        is(&error, Stage::CurrentDir, libc::EACCES);
        let error = fails("program", spawner_of(&program).uid(USER));
        is(&error, Stage::Exec, libc::EACCES);
    }
);

by_every_method!(
    fn identity_file_is_written_by_the_user_that_the_spawner_is() {
        if !needs_root() {
            return;
        }
        let folder = Folder::new();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).expect("chmod");
        let file = folder.join("identity");
        let mut spawner = spawner_of("/bin/cat");
        spawner.stdin(Stdio::piped()).uid(USER).identity_file(&file);
        let shim = ShimHandler::new(spawner.spawn().expect("spawn"));
        let identity = ShimIdentity::load(&file).expect("load");
        assert_eq!(Some(identity), shim.identity().ok());
    }
);

/// `/usr` as a root directory, where its programs find their libraries.
fn usr_is_a_root() -> bool {
    // Not by std's spawn, which some of the methods refuse.
    let mut copy = Fork::run(|| {
        // SAFETY: a C string; this copy executes a program and does nothing else.
        assert_eq!(unsafe { libc::chroot(c"/usr".as_ptr()) }, 0);
        let error = Command::new("/bin/true").exec();
        panic!("exec: {error}");
    });
    let works = copy.wait().success();
    if !works {
        eprintln!("skipped: /usr cannot be a root directory here");
    }
    works
}

by_every_method!(
    fn program_and_directory_are_looked_up_below_the_root_directory() {
        if !needs_root() || !usr_is_a_root() {
            return;
        }
        assert_eq!(output(spawner_of("/bin/pwd").chroot("/usr")), "/\n");
        let mut spawner = spawner_of("pwd");
        spawner
            .env("PATH", "/bin")
            .chroot("/usr")
            .current_dir("/share");
        assert_eq!(output(&mut spawner), "/share\n");
        // One that is not there.
        let error = fails("below", spawner_of("/usr/bin/pwd").chroot("/usr"));
        is(&error, Stage::Exec, libc::ENOENT);
        let error = fails("root", spawner_of("/bin/pwd").chroot("/nonexistent"));
        is(&error, Stage::Chroot, libc::ENOENT);
        assert_eq!(error.path(), Some(Path::new("/nonexistent")));
        // The user is changed below it.
        assert_eq!(
            output(spawner_of("/bin/id").arg("-u").chroot("/usr").uid(USER)),
            "12345\n"
        );
    }
);

by_every_method!(
    /// A stream that is missing here is /dev/null there, whether or not that is below the root.
    fn missing_stream_is_dev_null_below_any_root_directory() {
        if !needs_root() || !usr_is_a_root() {
            return;
        }
        Fork::run(|| {
            // SAFETY: nothing in this copy reads from it.
            unsafe { libc::close(0) };
            assert_eq!(output(spawner_of("/bin/cat").chroot("/usr")), "");
        })
        .succeeds();
    }
);

#[test]
fn child_gains_no_privileges_if_so_asked() {
    alone!({
        for engine in [Engine::Vfork, Engine::Fork] {
            for asked in [true, false] {
                let mut spawner = ShimSpawner::new("/bin/cat");
                spawner
                    .arg("/proc/self/status")
                    .engine(engine)
                    .no_new_privs(asked);
                let status = output(&mut spawner);
                assert_eq!(line_of(&status, "NoNewPrivs"), u8::from(asked).to_string());
            }
            let own = fs::read_to_string("/proc/self/status").expect("own status");
            assert_eq!(line_of(&own, "NoNewPrivs"), "0");
        }
    });
}

#[test]
fn closure_runs_as_the_new_user_and_with_no_new_privs() {
    alone!({
        if !needs_root() {
            return;
        }
        let mut spawner = ShimSpawner::new("/bin/true");
        spawner.uid(USER).no_new_privs(true);
        // SAFETY: system calls alone.
        unsafe {
            spawner.pre_exec(|| {
                let no_new_privs = libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
                match (libc::geteuid(), no_new_privs) {
                    (USER, 1) => Ok(()),
                    _ => Err(std::io::Error::from_raw_os_error(libc::EILSEQ)),
                }
            })
        };
        let shim = spawner.spawn().expect("the closure finds it so");
        assert!(
            reaped(shim.child.process())
                .status
                .expect("own child")
                .success()
        );
    });
}

by_every_method!(
    /// The list of its own descriptors is root's, for a process that has changed its user.
    fn descriptors_arrive_where_close_range_is_refused_and_the_user_is_another() {
        if !needs_root() {
            return;
        }
        seccomp::refuse(&[(libc::SYS_close_range, libc::EPERM)]);
        let _litter = fd_table::litter(60, 7, 20);
        let mut shell = spawner_of("/bin/sh");
        let list = "i=3; while [ $i -lt 250 ]; do [ -e /proc/self/fd/$i ] && echo $i; i=$((i+1)); done; id -u";
        shell
            .args(["-c", list])
            .detached(true)
            .uid(USER)
            .map_fd(fd_table::file(), 9);
        assert_eq!(output(&mut shell), format!("9\n{USER}\n"));
    }
);

by_every_method!(
    /// The limit is set before the user, who is held to it then.
    fn user_with_too_many_processes_is_refused_by_the_exec() {
        if !needs_root() {
            return;
        }
        let user = 1_000_000 + u32::try_from(random().u64(..1_000_000_000)).expect("small");
        // The kernel counts those that are there before the change.
        let first = [(); 2].map(|()| {
            let mut first = spawner_of("/bin/cat");
            first
                .uid(user)
                .stdin(Stdio::piped())
                .spawn()
                .expect("the first two")
        });
        let mut third = spawner_of("/bin/true");
        third.uid(user).rlimit(Resource::Nproc, 1, 1);
        let error = third.spawn().expect_err("the third one");
        is(&error, Stage::Exec, libc::EAGAIN);
        drop(first);
    }
);

by_every_method!(
    fn child_killed_at_a_step_is_a_failed_spawn_of_that_step() {
        if !needs_root() {
            return;
        }
        for (call, stage) in [
            (libc::SYS_setgroups, Stage::Groups),
            (libc::SYS_setresgid, Stage::Gid),
            (libc::SYS_setresuid, Stage::Uid),
            (libc::SYS_chroot, Stage::Chroot),
            (libc::SYS_setpriority, Stage::Nice),
            (libc::SYS_umask, Stage::Umask),
            (libc::SYS_sched_setaffinity, Stage::CpuAffinity),
        ] {
            Fork::run(|| {
                seccomp::kill_process_at(&[call]);
                let mut spawner = spawner_of("/bin/true");
                let cpus = rustix::thread::sched_getaffinity(None).expect("own CPUs");
                spawner
                    .nice(1)
                    .umask(0o77)
                    .cpu_affinity(cpus)
                    .chroot("/")
                    .uid(USER)
                    .gid(GROUP);
                let error = fails("killed on the way", &mut spawner);
                assert_eq!(error.stage(), stage, "{error}");
                assert!(error.exit_status().is_some(), "{error}");
            })
            .succeeds();
        }
    }
);

by_every_method!(
    fn what_makes_no_sense_is_refused_before_anything_is_started() {
        // A spawn that would start something ends this process.
        seccomp::kill_process_at(&[libc::SYS_clone3, libc::SYS_clone, libc::SYS_vfork]);
        type Spoil = fn(&mut ShimSpawner) -> &mut ShimSpawner;
        let cases: [(&str, Spoil); 18] = [
            ("user", |s| s.uid(u32::MAX)),
            ("group", |s| s.gid(u32::MAX)),
            ("one of the groups", |s| s.groups([1, u32::MAX])),
            ("too many groups", |s| s.groups(1..=65_537)),
            ("root", |s| s.chroot("a\0b")),
            ("name", |s| s.arg0("a\0b")),
            ("soft above hard", |s| s.rlimit(Resource::Core, 2, 1)),
            ("soft without limit", |s| {
                s.rlimit(Resource::Core, u64::MAX, 1)
            }),
            ("nice", |s| s.nice(20)),
            ("nice, negative", |s| s.nice(-21)),
            ("oom_score_adj", |s| s.oom_score_adj(1001)),
            ("oom_score_adj, negative", |s| s.oom_score_adj(-1001)),
            ("no CPU", |s| s.cpu_affinity(shim_spawner::CpuSet::new())),
            ("umask", |s| s.umask(0o1000)),
            ("ignored", |s| {
                s.ignored_signals([shim_spawner::Signal::KILL])
            }),
            ("supervised root", |s| {
                s.supervised(Supervisor::at("/")).chroot("/")
            }),
            ("supervised name", |s| {
                s.supervised(Supervisor::at("/")).arg0("x")
            }),
            ("a session and another's group", |s| {
                s.session(true).process_group(1)
            }),
        ];
        for (what, spoil) in cases {
            let mut spawner = spawner_of("/bin/true");
            let error = spoil(&mut spawner).spawn().expect_err(what);
            assert_eq!(error.stage(), Stage::Arguments, "{what}: {error}");
        }
    }
);

by_every_method!(
    /// The link's descriptors lie below the child's limit, and need no privilege.
    fn attached_child_of_another_user_with_few_descriptors_is_told_of_the_end() {
        if !needs_root() {
            return;
        }
        // Where that user can reach it.
        let folder = Folder::new();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("chmod");
        let program = folder.join("shim_role");
        fs::copy(env!("CARGO_BIN_EXE_shim_role"), &program).expect("copy");
        let mut spawner = spawner_of(&program);
        spawner
            .arg(Order::TellVerdict.argument())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .session(true)
            .uid(USER)
            .gid(GROUP)
            .no_new_privs(true)
            .rlimit(Resource::Nofile, 20, 20);
        let mut shim = spawner.spawn().expect("spawn");
        let mut lines = BufReader::new(shim.child.stdout.take().expect("piped")).lines();
        let mut line = || lines.next().expect("a line").expect("read");
        assert_eq!(line(), "ready");
        drop(shim.keepalive.take());
        assert_eq!(line(), "KeepaliveDropped");
        drop(shim.child.stdin.take());
        ends_well(&shim);
    }
);

/// The supervisor is the program's user too, so it may signal it.
#[test]
fn supervised_program_has_the_user_that_was_asked_for_and_is_stopped() {
    alone!({
        if !needs_root() {
            return;
        }
        // Where that user can reach it.
        let folder = Folder::new();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("chmod");
        let supervisor = folder.join("watchdog-shim");
        fs::copy(env!("CARGO_BIN_EXE_shim_under_test"), &supervisor).expect("copy");
        let mut spawner = ShimSpawner::new("/bin/sh");
        spawner
            .args([
                "-c",
                "trap 'exit 9' TERM; id -u; ulimit -c; while :; do sleep 0.01; done",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .uid(USER)
            .gid(GROUP)
            .core_limit(0)
            .supervised(Supervisor::at(&supervisor));
        let mut shim = ShimHandler::new(spawner.spawn().expect("spawn"));
        let mut said = BufReader::new(shim.take_stdout().expect("piped")).lines();
        let mut line = || said.next().expect("a line").expect("read");
        assert_eq!(line(), USER.to_string());
        assert_eq!(line(), "0");
        let exit = shim.stop().expect("stop").exit();
        assert_eq!(exit.status.expect("own child").code(), Some(9));
    });
}

#[test]
fn nothing_of_a_spawn_with_another_user_is_left_behind() {
    alone!({
        CloneMethod::Clone3.force();
        if !needs_root() {
            return;
        }
        let before = Snapshot::take();
        let shim = spawner_of("/bin/true")
            .uid(USER)
            .gid(GROUP)
            .spawn()
            .expect("spawn");
        reaped(shim.child.process());
        drop(shim);
        assert_eq!(Snapshot::take(), before, "{:?}", method());
    });
}
