//! A shim that the kernel kills when its handle goes: on Linux 7.1, and refused by name elsewhere.

use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;

use pidfd_watcher::Process;
use shim_spawner::{Engine, ShimHandler, ShimSpawner, Stage, Stdio, StopTarget, Supervisor};
use workspace_tests::namespace::kernel;
use workspace_tests::spawn_case::ends_with_its_runtime;
use workspace_tests::{alone, alone_in_pid_namespace, proc_fs, seccomp, time_limit, until};

fn sleeper() -> ShimSpawner {
    let mut spawner = ShimSpawner::new("/bin/sleep");
    spawner.arg("1000").stdin(Stdio::null()).kill_on_close(true);
    spawner
}

/// Whether the kernel has it; a line says so where not.
fn can() -> bool {
    let can = kernel() >= (7, 1) && cfg!(target_arch = "x86_64");
    if !can {
        eprintln!("skipped: CLONE_PIDFD_AUTOKILL is of Linux 7.1, and tried on x86-64 alone");
    }
    can
}

fn no_children() {
    assert_eq!(proc_fs::children_of(std::process::id().cast_signed()), []);
}

fn refused(spawner: &mut ShimSpawner, stage: Stage, kind: ErrorKind) {
    drop(watchdog_pipe::channel());
    let before = proc_fs::own_fds();
    let error = spawner.spawn().expect_err("refused");
    assert_eq!(error.stage(), stage, "{error}");
    assert_eq!(std::io::Error::from(error).kind(), kind);
    no_children();
    assert_eq!(proc_fs::own_fds(), before);
}

/// As it is today on most kernels, by a filter where the kernel has it.
#[test]
fn kernel_that_does_not_know_it_is_named_and_nothing_is_started() {
    for errno in [libc::EINVAL, libc::ENOSYS] {
        alone!({
            if kernel() >= (7, 1) || errno == libc::ENOSYS {
                seccomp::refuse(&[(libc::SYS_clone3, errno)]);
            }
            refused(&mut sleeper(), Stage::Create, ErrorKind::Unsupported);
            // The next one, which does not ask for it, is none the worse.
            let mut spawner = sleeper();
            let shim = spawner.kill_on_close(false).spawn().expect("spawn");
            assert!(!shim.child.is_killed_on_close());
            assert!(ShimHandler::new(shim).stop().expect("stop").is_empty());
        });
    }
}

#[test]
fn what_it_does_not_go_along_with_is_refused_before_anything_starts() {
    alone!({
        let arguments = |spawner: &mut ShimSpawner| {
            refused(spawner, Stage::Arguments, ErrorKind::InvalidInput);
        };
        arguments(sleeper().detached(true));
        arguments(sleeper().supervised(Supervisor::at("/bin/true")));
        arguments(sleeper().engine(Engine::Fork));
        let mut spawner = sleeper();
        // SAFETY: it does nothing.
        unsafe { spawner.pre_exec(|| Ok(())) };
        arguments(&mut spawner);
    });
}

#[test]
fn shim_is_killed_and_reaped_when_its_handler_is_dropped() {
    alone!({
        if !can() {
            return;
        }
        let handler = ShimHandler::new(sleeper().spawn().expect("spawn"));
        assert!(handler.is_killed_on_close());
        let witness = Process::open(handler.pid()).expect("it lives");
        drop(handler);
        let exit = witness
            .wait_timeout(time_limit())
            .expect("poll")
            .expect("killed");
        assert_eq!(exit.status.expect("6.15").signal(), Some(libc::SIGKILL));
        until("no zombie", || {
            let own = std::process::id().cast_signed();
            proc_fs::children_of(own).is_empty().then_some(())
        });
    });
}

#[test]
fn shim_is_killed_when_its_runtime_is() {
    alone_in_pid_namespace!({
        if !can() {
            return;
        }
        ends_with_its_runtime(|| {
            let shim = sleeper().spawn().expect("spawn");
            (shim.child.pid(), shim)
        });
    });
}

#[test]
fn shim_that_the_kernel_reaps_is_waited_for_and_stopped_with_its_own_status() {
    alone!({
        if !can() {
            return;
        }
        let mut spawner = ShimSpawner::new("/bin/sh");
        spawner.args(["-c", "exit 7"]).kill_on_close(true);
        let mut handler = ShimHandler::new(spawner.spawn().expect("spawn"));
        let exit = handler.wait().expect("wait");
        assert_eq!(exit.status.expect("6.15").code(), Some(7));
        let mut handler = ShimHandler::new(sleeper().spawn().expect("spawn"));
        let report = handler.stop().expect("stop");
        assert_eq!(report.target(), StopTarget::Group);
        assert!(report.is_empty(), "{report:?}");
        let status = report.exit().status.expect("6.15");
        assert_eq!(status.signal(), Some(libc::SIGTERM));
        no_children();
    });
}

#[test]
fn program_that_is_missing_is_an_error_of_the_spawn_all_the_same() {
    alone!({
        if !can() {
            return;
        }
        let mut spawner = ShimSpawner::new("/no/such/program");
        refused(
            spawner.kill_on_close(true),
            Stage::Exec,
            ErrorKind::NotFound,
        );
    });
}

/// Without the privilege the kernel wants `no_new_privs`, and the program has it.
#[test]
fn shim_of_an_unprivileged_runtime_is_killed_too_and_gains_no_privileges() {
    alone!({
        if !can() {
            return;
        }
        // SAFETY: plain numbers; this process has one thread.
        unsafe {
            assert_eq!(libc::setresgid(65534, 65534, 65534), 0);
            assert_eq!(libc::setresuid(65534, 65534, 65534), 0);
        }
        let handler = ShimHandler::new(sleeper().spawn().expect("spawn"));
        let number = handler.pid().as_raw_nonzero();
        let status = std::fs::read_to_string(format!("/proc/{number}/status")).expect("/proc");
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        let witness = Process::open(handler.pid()).expect("it lives");
        drop(handler);
        witness
            .wait_timeout(time_limit())
            .expect("poll")
            .expect("killed");
    });
}
