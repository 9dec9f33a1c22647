//! What is the same on every way of creating a child, and hard on some: deaths on the way, threads,
//! missing streams, memory.

use std::alloc::Layout;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::{fs, thread};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use shim_spawner::{ShimSpawner, Stage, Stdio};
use workspace_tests::clone_method::{CloneMethod, method};
use workspace_tests::fd_table::{Table, Witness, id, id_of};
use workspace_tests::fork::Fork;
use workspace_tests::heap::{Observed, Observer};
use workspace_tests::spawn_case::ask_for_everything;
use workspace_tests::{by_every_method, clone_method, fd_table, reaped, seccomp};

use super::child::{ends_well, output};
use super::snapshot::{Snapshot, fails, full, own_pid, pid_of_the_kernel, shell, spawner_of};

by_every_method!(
    /// The kernel kills the child at a system call that this process itself makes no more.
    fn child_killed_at_any_step_is_a_failed_spawn_of_that_step() {
        for (call, stage) in [
            (libc::SYS_setpgid, Stage::Session),
            (libc::SYS_chdir, Stage::CurrentDir),
            (libc::SYS_dup3, Stage::Stdio),
            (libc::SYS_close_range, Stage::InstallFds),
            (libc::SYS_execve, Stage::Exec),
        ] {
            Fork::run(|| {
                kill_at(call);
                let error = fails("killed on the way", full("/bin/true").current_dir("/"));
                assert_eq!(error.stage(), stage, "{error}");
                assert_eq!(error.raw_os_error(), None, "{error}");
                let signal = error.exit_status().and_then(|status| status.signal());
                assert_eq!(signal, Some(libc::SIGSYS), "{error}");
            })
            .succeeds();
        }
    }
);

fn kill_at(call: libc::c_long) {
    let filter = SeccompFilter::new(
        [(call, Vec::new())].into(),
        SeccompAction::Allow,
        SeccompAction::KillProcess,
        std::env::consts::ARCH
            .try_into()
            .expect("a known architecture"),
    );
    let program: BpfProgram = filter.expect("a filter").try_into().expect("a program");
    seccompiler::apply_filter(&program).expect("seccomp");
}

by_every_method!(
    /// Whatever a filter answers that refuses the ways before, this one is found.
    fn way_is_found_whatever_refuses_those_before_it() {
        for errno in [
            libc::ENOSYS,
            libc::EPERM,
            libc::EINVAL,
            libc::EACCES,
            libc::EOPNOTSUPP,
        ] {
            Fork::run(|| {
                // The filter that came last is the one that answers.
                if method() != CloneMethod::Clone3 {
                    seccomp::refuse(&[(libc::SYS_clone3, errno)]);
                }
                if method() == CloneMethod::Copy {
                    let shared = libc::CLONE_VFORK | libc::CLONE_VM;
                    clone_method::refuse_clone(shared, shared, errno);
                }
                assert_eq!(output(spawner_of("/bin/echo").arg("well")), "well\n");
            })
            .succeeds();
        }
    }
);

by_every_method!(
    /// No way is left: that is said, and nothing is left behind.
    fn no_way_left_is_an_error_that_leaves_nothing() {
        for errno in [libc::ENOSYS, libc::EPERM, libc::EINVAL] {
            Fork::run(|| {
                seccomp::refuse(&[(libc::SYS_clone3, errno), (libc::SYS_clone, errno)]);
                let error = fails("all refused", &mut full("/bin/true"));
                assert_eq!(error.stage(), Stage::Create, "{error}");
                assert_eq!(error.raw_os_error(), Some(errno), "{error}");
            })
            .succeeds();
        }
        // Nothing is forced beyond what the method refuses: the one that is left is found.
        if method() == CloneMethod::Copy {
            clone_method::refuse_clone(libc::CLONE_VFORK, libc::CLONE_VFORK, libc::EPERM);
            let error = fails("the last one refused", &mut full("/bin/true"));
            assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
        }
    }
);

by_every_method!(
    /// Sixteen threads spawn while others fork, and open and close what must not get through.
    fn sixteen_threads_spawn_at_once() {
        let before = Snapshot::take();
        let standard = fd_table::stdio();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let noise = [
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        // SAFETY: the copy ends at once; the parent reaps it.
                        unsafe {
                            let copy = libc::fork();
                            if copy == 0 {
                                libc::_exit(0);
                            }
                            libc::waitpid(copy, std::ptr::null_mut(), 0);
                        }
                    }
                }),
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        // SAFETY: a new pipe without close-on-exec, on purpose, closed again.
                        unsafe {
                            let mut ends = [0; 2];
                            assert_eq!(libc::pipe(ends.as_mut_ptr()), 0, "pipe");
                            libc::close(ends[0]);
                            libc::close(ends[1]);
                        }
                    }
                }),
            ];
            let spawning: Vec<_> = (0..16)
                .map(|_| scope.spawn(|| (0..20).for_each(|_| spawn_and_look(&standard))))
                .collect();
            for thread in spawning {
                thread.join().expect("a spawning thread");
            }
            done.store(true, Ordering::Relaxed);
            for thread in noise {
                thread.join().expect("a noisy thread");
            }
        });
        assert_eq!(Snapshot::take(), before);
    }
);

fn spawn_and_look(standard: &Table) {
    let file = fd_table::file();
    let mut expected = standard.clone();
    expected.insert(40, id(&file));
    let seen = seen(|spawner| {
        spawner.detached(true).map_fd(file, 40);
    });
    assert_eq!(seen, expected);
}

/// What the child of a witness had.
fn seen(prepare: impl FnOnce(&mut ShimSpawner)) -> Table {
    let witness = Witness::new();
    let mut spawner = spawner_of(witness.command.get_program());
    spawner.args(witness.command.get_args());
    prepare(&mut spawner);
    let shim = spawner.spawn().expect("spawn");
    let exit = reaped(shim.child.process());
    witness.read(exit.status.expect("own child"))
}

by_every_method!(
    /// A standard stream that this process lacks is /dev/null in the child, and stays missing here.
    fn missing_standard_stream_is_dev_null_in_the_child() {
        let null = id(fs::File::open("/dev/null").expect("/dev/null"));
        for missing in 1..8 {
            Fork::run(|| {
                let closed: Vec<i32> = (0..3).filter(|fd| missing >> fd & 1 == 1).collect();
                for &fd in &closed {
                    // SAFETY: nothing in this copy prints from here on.
                    unsafe { libc::close(fd) };
                }
                let table = seen(|spawner| {
                    spawner.config(b"secret".as_slice());
                });
                let numbers: Vec<i32> = table.keys().copied().collect();
                // The streams; the config and the link's two, on numbers of the crate's own.
                assert_eq!(numbers, [0, 1, 2, 47, 48, 49]);
                for &fd in &closed {
                    assert_eq!(table[&fd], null, "{fd} of {closed:?}");
                    assert_eq!(id_of(fd), None, "{fd} is open here");
                }
                // Pipes take no number of theirs.
                let mut shell = shell("read line; echo $line; echo x >&2");
                shell.stderr(Stdio::null());
                let mut shim = shell.spawn().expect("spawn");
                drop(shim.child.stdin.take());
                let held = [
                    shim.child.stdout.as_ref().map(AsRawFd::as_raw_fd),
                    Some(shim.child.process().as_fd().as_raw_fd()),
                ];
                assert!(held.iter().flatten().all(|fd| *fd > 2), "{held:?}");
                ends_well(&shim);
            })
            .succeeds();
        }
    }
);

by_every_method!(
    /// What a spawn opens here, no program that another thread starts meanwhile or later is given.
    fn nothing_that_a_spawn_opens_here_is_inheritable() {
        let before = Snapshot::take();
        let mut spawner = full("/bin/cat");
        let mut shim = spawner.spawn().expect("spawn");
        let pidfd = shim.child.process().as_fd().as_raw_fd();
        let opened: Vec<i32> = Snapshot::take().opened_since(&before);
        assert!(opened.contains(&pidfd), "{opened:?}");
        // The pidfd, three pipes, the keepalive, and the caller's file.
        assert_eq!(opened.len(), 6, "{opened:?}");
        for fd in opened {
            // SAFETY: takes no pointer and changes nothing.
            let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
            assert_eq!(flags, libc::FD_CLOEXEC, "{fd}");
        }
        drop(shim.child.stdin.take());
        ends_well(&shim);
    }
);

by_every_method!(
    /// SIGCHLD is ignored: a child that became the program is no failure however soon it is gone,
    /// and one that did not is.
    fn child_that_the_kernel_reaps_is_no_failure() {
        // SAFETY: no handler.
        unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        let before = Snapshot::take();
        for _ in 0..200 {
            match (full("/bin/true").spawn(), method()) {
                (Ok(shim), _) => drop(shim.child.process().wait().expect("poll")),
                // It was gone before it could be opened.
                (Err(error), CloneMethod::Fork) => {
                    assert_eq!(error.stage(), Stage::Pidfd, "{error}")
                }
                (Err(error), _) => panic!("{error}"),
            }
        }
        let error = fails("no program", &mut full("/nonexistent/shim"));
        assert_eq!(error.stage(), Stage::Exec, "{error}");
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{error}");
        assert_eq!(Snapshot::take(), before);
    }
);

/// The only process that may allocate; 0: any.
static ALLOCATES: AtomicI32 = AtomicI32::new(0);

/// The allocator of this fixture: armed, it ends a child that allocates, whoever's memory it runs
/// in.
struct Trap;

fn check() {
    let armed = ALLOCATES.load(Ordering::Relaxed);
    if armed != 0 && pid_of_the_kernel() != armed {
        // SAFETY: takes no pointer.
        unsafe { libc::syscall(libc::SYS_exit_group, 98) };
    }
}

impl Observer for Trap {
    fn allocates(&self, _: Layout) {
        check();
    }

    fn frees(&self, _: Layout) {
        check();
    }
}

#[global_allocator]
static ALLOCATOR: Observed<Trap> = Observed(Trap);

by_every_method!(
    /// Neither a child that becomes the program nor one that fails allocates or frees anything.
    fn child_allocates_nothing() {
        ALLOCATES.store(own_pid(), Ordering::Relaxed);
        let mut closure = full("/bin/true");
        // SAFETY: wrong on purpose, to see that the trap works.
        unsafe {
            closure.pre_exec(|| {
                std::hint::black_box(Box::new(1));
                Ok(())
            })
        };
        let error = fails("the trap", &mut closure);
        assert_eq!(error.stage(), Stage::PreExec, "{error}");
        let code = error.exit_status().and_then(|status| status.code());
        assert_eq!(code, Some(98), "{error}");

        let everything = || {
            ends_well(&full("true").current_dir("/").spawn().expect("spawn"));
            for (program, stage) in [
                ("/nonexistent/shim", Stage::Exec),
                ("no-such-program", Stage::Exec),
                ("/", Stage::Exec),
            ] {
                let error = fails(program, &mut full(program));
                assert_eq!(error.stage(), stage, "{error}");
            }
            let error = fails("no folder", full("true").current_dir("/nonexistent"));
            assert_eq!(error.stage(), Stage::CurrentDir, "{error}");
            let error = fails("a stranger's group", full("true").process_group(1));
            assert_eq!(error.stage(), Stage::Session, "{error}");
            ends_well(
                &ask_for_everything(&mut full("true"))
                    .spawn()
                    .expect("spawn"),
            );
            let error = fails(
                "no folder",
                ask_for_everything(&mut full("true")).chroot("/nowhere"),
            );
            assert_eq!(error.stage(), Stage::Chroot, "{error}");
        };
        everything();
        // By /proc/self/fd.
        seccomp::refuse(&[(libc::SYS_close_range, libc::EPERM)]);
        everything();
        assert_eq!(output(spawner_of("/bin/echo").arg("well")), "well\n");
    }
);
