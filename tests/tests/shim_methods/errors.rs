//! Spawns that fail: which stage, which error number, and nothing left behind.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::{fs, io};

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use shim_spawner::{CONFIG_MAX, Engine, ShimSpawner, SpawnError, Stage};
use workspace_tests::{Folder, by_every_method, fd_table, reaped, seccomp};

use super::snapshot::{fails, full, spawner_of};

#[track_caller]
fn is(error: &SpawnError, stage: Stage, errno: Option<i32>) {
    assert_eq!(
        (error.stage(), error.raw_os_error()),
        (stage, errno),
        "{error}"
    );
    assert_eq!(error.exit_status(), None, "{error}");
}

by_every_method!(
    fn program_that_cannot_be_executed_is_named_with_its_errno() {
        let folder = Folder::new();
        let plain = folder.join("plain");
        fs::write(&plain, "#!/bin/sh\n").expect("write");
        fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).expect("chmod");
        let text = plain.to_str().expect("text");
        for (program, errno) in [
            ("/nonexistent/shim", libc::ENOENT),
            ("no-such-program-in-the-path", libc::ENOENT),
            ("/dev/null/shim", libc::ENOTDIR),
            (text, libc::EACCES),
            ("/", libc::EACCES),
        ] {
            for detached in [false, true] {
                let error = fails(program, full(program).detached(detached));
                is(&error, Stage::Exec, Some(errno));
                assert_eq!(error.path(), Some(Path::new(program)));
                assert!(error.to_string().contains(program), "{error}");
            }
        }
    }
);

by_every_method!(
    fn bad_working_directory_is_told_from_a_missing_program() {
        for (dir, errno) in [("/nonexistent", libc::ENOENT), ("/dev/null", libc::ENOTDIR)] {
            // The program is missing as well: the directory comes first, and is what is named.
            for program in ["/bin/true", "/nonexistent/shim"] {
                let error = fails(dir, full(program).current_dir(dir));
                is(&error, Stage::CurrentDir, Some(errno));
                assert_eq!(error.path(), Some(Path::new(dir)));
            }
        }
    }
);

by_every_method!(
    fn oversized_configuration_is_an_error_and_no_signal() {
        let error = fails(
            "too large",
            full("/bin/true").config(vec![0; CONFIG_MAX + 1]),
        );
        is(&error, Stage::Config, Some(libc::EFBIG));
        // SIGXFSZ would end this process, and the test with it.
        let limit = libc::rlimit {
            rlim_cur: 100,
            rlim_max: libc::RLIM_INFINITY,
        };
        // SAFETY: a valid place to read the limit from.
        assert_eq!(
            // SAFETY: the limit is valid for the call.
            unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) },
            0
        );
        let error = fails("above RLIMIT_FSIZE", full("/bin/true").config(vec![0; 101]));
        is(&error, Stage::Config, Some(libc::EFBIG));
        let shim = full("/bin/true")
            .config(vec![0; 100])
            .spawn()
            .expect("as large as it may be");
        let exit = reaped(shim.child.process());
        assert!(exit.status.expect("own child").success());
    }
);

by_every_method!(
    fn bad_numbers_are_refused_before_there_is_a_child() {
        let mut limit = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: a valid place to write the limit to.
        assert_eq!(
            // SAFETY: the limit is valid for the call, which fills it.
            unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) },
            0
        );
        let limit = i32::try_from(limit.rlim_cur).expect("a limit of this machine");
        for number in [7, -1, i32::MIN, limit, i32::MAX] {
            let mut spawner = full("/bin/true");
            let error = fails("a bad number", spawner.map_fd(fd_table::file(), number));
            is(&error, Stage::Descriptors, None);
            let cause = std::error::Error::source(&error)
                .expect("a cause")
                .to_string();
            assert!(cause.contains(&number.to_string()), "{cause}");
        }
    }
);

const NUL: &str = "a\0b";

type Spoil = fn(&mut ShimSpawner) -> &mut ShimSpawner;

by_every_method!(
    fn arguments_that_make_no_sense_are_refused() {
        let cases: [(&str, Spoil); 6] = [
            ("argument", |s| s.arg(NUL)),
            ("name of a variable", |s| s.env(NUL, "x")),
            ("value of a variable", |s| s.env("X", NUL)),
            ("directory", |s| s.current_dir(NUL)),
            ("group and session", |s| s.detached(true).process_group(1)),
            ("negative group", |s| s.process_group(-1)),
        ];
        for (what, spoil) in cases {
            let mut spawner = full("/bin/true");
            spoil(&mut spawner);
            is(&fails(what, &mut spawner), Stage::Arguments, None);
        }
        is(&fails("program", &mut full(NUL)), Stage::Arguments, None);
    }
);

by_every_method!(
    fn group_of_another_session_is_refused() {
        // Group 1 belongs to another session, or to nobody.
        let error = fails("a stranger's group", full("/bin/true").process_group(1));
        is(&error, Stage::Session, Some(libc::EPERM));
    }
);

by_every_method!(
    fn error_and_panic_of_a_closure_fail_the_spawn() {
        let mut spawner = full("/bin/true");
        // SAFETY: makes an error of a number, nothing more.
        unsafe { spawner.pre_exec(|| Err(io::Error::from_raw_os_error(libc::EXDEV))) };
        is(
            &fails("an error", &mut spawner),
            Stage::PreExec,
            Some(libc::EXDEV),
        );

        let mut spawner = full("/bin/true");
        // SAFETY: ends the child.
        unsafe { spawner.pre_exec(|| panic!("on purpose")) };
        let error = fails("a panic", &mut spawner);
        assert_eq!(error.stage(), Stage::PreExec, "{error}");
        assert_eq!(error.raw_os_error(), None, "{error}");
        assert!(
            error.exit_status().is_some_and(|status| !status.success()),
            "{error}"
        );
    }
);

by_every_method!(
    /// A closure that becomes a program of its own is no spawn of the shim, and that program does
    /// not stay.
    fn closure_that_executes_something_else_leaves_nothing_of_it() {
        let mut spawner = full("/bin/true");
        // SAFETY: execve(2) of strings and arrays that end as they should.
        unsafe {
            spawner.pre_exec(|| {
                let args = [c"sleep".as_ptr(), c"10".as_ptr(), std::ptr::null()];
                libc::execve(c"/bin/sleep".as_ptr(), args.as_ptr(), args[2..].as_ptr());
                Err(io::Error::last_os_error())
            })
        };
        died(&mut spawner, Stage::PreExec, libc::SIGKILL);
    }
);

by_every_method!(
    /// What fails in the child names the number it is about.
    fn descriptor_that_the_child_cannot_have_is_named() {
        let (mapped, kept) = (fd_table::file(), fd_table::file_at(40));
        seccomp::refuse(&[(libc::SYS_dup3, libc::EPERM)]);
        let mut spawner = spawner_of("/bin/true");
        let error = fails("dup3", spawner.detached(true).map_fd(mapped, 9));
        is(&error, Stage::InstallFds, Some(libc::EPERM));
        assert_eq!(error.fd(), Some(9), "{error}");
        // Only that: before Linux 5.11 close_range(2) sets no flag, and fcntl(2) marks what is not
        // passed on.
        seccomp::refuse_to_clear_cloexec(libc::EPERM);
        let mut spawner = spawner_of("/bin/true");
        spawner.detached(true).preserve_fd(kept);
        for before_5_11 in [false, true] {
            if before_5_11 {
                seccomp::refuse(&[(libc::SYS_close_range, libc::EINVAL)]);
            }
            let error = fails("F_SETFD", &mut spawner);
            is(&error, Stage::InstallFds, Some(libc::EPERM));
            assert_eq!(error.fd(), Some(40), "{error}");
        }
    }
);

by_every_method!(
    fn child_killed_before_its_exec_is_a_failed_spawn() {
        let mut spawner = full("/bin/true");
        // SAFETY: raise(3) is async-signal-safe.
        unsafe {
            spawner.pre_exec(|| {
                libc::raise(libc::SIGKILL);
                Ok(())
            })
        };
        died(&mut spawner, Stage::PreExec, libc::SIGKILL);
        // A filter that kills at a system call puts the death on the spot.
        died(
            &mut killed_at(libc::SYS_close_range),
            Stage::InstallFds,
            libc::SIGSYS,
        );
        died(&mut killed_at(libc::SYS_execve), Stage::Exec, libc::SIGSYS);
    }
);

fn died(spawner: &mut ShimSpawner, stage: Stage, signal: i32) {
    let error = fails("a death", spawner);
    assert_eq!(error.stage(), stage, "{error}");
    assert_eq!(error.raw_os_error(), None, "{error}");
    assert_eq!(
        error.exit_status().and_then(|status| status.signal()),
        Some(signal),
        "{error}"
    );
}

fn killed_at(call: libc::c_long) -> ShimSpawner {
    let calls: BTreeSet<_> = [call].into();
    let filter = SeccompFilter::new(
        calls.into_iter().map(|call| (call, Vec::new())).collect(),
        SeccompAction::Allow,
        SeccompAction::KillProcess,
        std::env::consts::ARCH
            .try_into()
            .expect("a known architecture"),
    );
    let program: BpfProgram = filter.expect("a filter").try_into().expect("a program");
    let mut spawner = full("/bin/true");
    // SAFETY: prctl(2) and seccomp(2) on a program made above.
    unsafe {
        spawner.pre_exec(move || {
            seccompiler::apply_filter(&program)
                .map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))
        })
    };
    spawner
}

by_every_method!(
    /// The last thing that can fail after a fork: by then there is a child, which runs.
    fn child_that_cannot_be_held_is_killed_and_reaped() {
        seccomp::refuse(&[(libc::SYS_pidfd_open, libc::EMFILE)]);
        is(
            &fails("no handle", full("/bin/cat").engine(Engine::Fork)),
            Stage::Pidfd,
            Some(libc::EMFILE),
        );
    }
);
