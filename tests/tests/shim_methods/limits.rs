//! Spawns for which a descriptor or a process is missing.

use std::collections::HashSet;
use std::os::fd::AsRawFd;
use std::sync::mpsc::sync_channel;
use std::{io, thread};

use shim_spawner::{Stage, Stdio};
use workspace_tests::clone_method::{CloneMethod, method};
use workspace_tests::halt::Halt;
use workspace_tests::{by_every_method, fd_table, proc_fs, reaped, seccomp};

use super::snapshot::{Snapshot, fails, full, own_pid, spawner_of};

/// Sets the soft limit and gives the old one.
fn soft_limit(resource: libc::__rlimit_resource_t, soft: u64) -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: valid places for the old and the new limit.
    unsafe {
        assert_eq!(libc::getrlimit(resource, &raw mut limit), 0);
        let old = limit.rlim_cur;
        limit.rlim_cur = soft;
        assert_eq!(
            libc::setrlimit(resource, &raw const limit),
            0,
            "{}",
            io::Error::last_os_error()
        );
        old
    }
}

by_every_method!(
    /// Every descriptor that a spawn makes is the one that cannot be had, each in its turn.
    fn every_missing_descriptor_fails_the_spawn_and_leaves_none_behind() {
        // The caller's on the number it has, which no limit of ours reaches, and on one that limits
        // do.
        for target in [None, Some(7)] {
            let file = fd_table::file();
            let target = target.unwrap_or(file.as_raw_fd());
            let mut spawner = spawner_of("/bin/true");
            spawner
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .config(b"secret".as_slice())
                .map_fd(file, target);
            let before = Snapshot::take();
            let mut stages = HashSet::new();
            for limit in 0.. {
                let old = soft_limit(libc::RLIMIT_NOFILE, limit);
                let spawned = spawner.spawn();
                soft_limit(libc::RLIMIT_NOFILE, old);
                match spawned {
                    Err(error) => {
                        assert_eq!(Snapshot::take(), before, "left behind at {limit}: {error}");
                        match error.raw_os_error() {
                            Some(errno) => assert_eq!(errno, libc::EMFILE, "{limit}: {error}"),
                            None => {
                                assert_eq!(error.stage(), Stage::Descriptors, "{limit}: {error}");
                                let cause = std::error::Error::source(&error).expect("a cause");
                                assert!(cause.to_string().contains("limit"), "{limit}: {cause}");
                            }
                        }
                        assert_eq!(error.exit_status(), None, "{limit}: {error}");
                        stages.insert(error.stage());
                    }
                    Ok(shim) => {
                        shim.child.process().wait().expect("poll");
                        break;
                    }
                }
                assert!(limit < 100, "no spawn below 100 descriptors");
            }
            assert_eq!(Snapshot::take(), before, "left behind after success");
            // The handle comes last. A clone that has no number for it is a clone that failed.
            let handle = match method() {
                CloneMethod::Fork => Stage::Pidfd,
                _ => Stage::Create,
            };
            for stage in [
                Stage::Watchdog,
                Stage::Config,
                Stage::Descriptors,
                Stage::Stdio,
                handle,
            ] {
                assert!(
                    stages.contains(&stage),
                    "{stage:?} never failed: {stages:?}"
                );
            }
        }
    }
);

by_every_method!(
    /// `EAGAIN`: a user who may have no more processes. Root may have any number, so this is
    /// another one.
    fn missing_process_is_told_as_such() {
        const NOBODY: libc::uid_t = 54_321;
        // SAFETY: none of these has a memory effect; the fixture has one thread. A process that has
        // changed its user is not dumpable, and could not read its own /proc/self/fd.
        unsafe {
            assert_eq!(
                libc::setgid(NOBODY),
                0,
                "setgid: {}",
                io::Error::last_os_error()
            );
            assert_eq!(
                libc::setuid(NOBODY),
                0,
                "setuid: {}",
                io::Error::last_os_error()
            );
            assert_eq!(libc::prctl(libc::PR_SET_DUMPABLE, 1), 0);
        }
        let old = soft_limit(libc::RLIMIT_NPROC, 1);
        let error = fails("no process left", &mut full("/bin/true"));
        assert_eq!(error.stage(), Stage::Create, "{error}");
        assert_eq!(error.raw_os_error(), Some(libc::EAGAIN), "{error}");
        soft_limit(libc::RLIMIT_NPROC, old);
        let shim = full("/bin/true").spawn().expect("as before");
        let exit = reaped(shim.child.process());
        assert!(exit.status.expect("own child").success(), "{exit:?}");
    }
);

by_every_method!(
    /// The handle comes to lie on 0, which is closed, and a filter keeps it from being moved: the
    /// child, which runs by then, is ended, and no other one is made in its place.
    fn handle_that_cannot_be_had_ends_the_one_child_there_is() {
        seccomp::refuse_fcntl(libc::F_DUPFD_CLOEXEC, libc::EPERM);
        thread::scope(|scope| {
            let (give, take) = sync_channel(1);
            let executed = scope.spawn(|| {
                let halt: Halt = take.into_iter().next().expect("a halt");
                let mut executed = 0;
                while let Some(call) = halt.next() {
                    executed += 1;
                    call.go_on();
                }
                executed
            });
            scope.spawn(move || {
                give.send(Halt::at(&[libc::SYS_execve])).expect("give");
                // SAFETY: nothing here reads from it.
                unsafe { libc::close(0) };
                let error = spawner_of("/bin/true")
                    .detached(true)
                    .spawn()
                    .expect_err("no handle");
                assert_eq!(error.stage(), Stage::Pidfd, "{error}");
                assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
                assert!(proc_fs::children_of(own_pid()).is_empty());
            });
            let executed = executed.join().expect("the thread that counts");
            // After a fork the child waits to be held before it goes on.
            assert_eq!(executed, usize::from(method() != CloneMethod::Fork));
        });
    }
);
