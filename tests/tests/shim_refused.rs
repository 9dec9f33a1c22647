//! Spawning where a seccomp filter refuses what the parent needs after the child exists: nothing is
//! left behind, nothing hangs, nothing panics.

use shim_spawner::{Engine, ShimSpawner, SpawnError, Stage, Stdio};
use workspace_tests::{alone, proc_fs, seccomp};

fn spawner(program: &str, engine: Engine) -> ShimSpawner {
    let mut spawner = ShimSpawner::new(program);
    spawner.engine(engine).detached(true).stdin(Stdio::null());
    spawner
}

fn fails(spawner: &mut ShimSpawner) -> SpawnError {
    spawner.spawn().map(drop).expect_err("it cannot be spawned")
}

/// Living or not.
fn children() -> usize {
    proc_fs::children_of(std::process::id().cast_signed()).len()
}

#[test]
fn failed_spawn_leaves_no_zombie_where_poll_is_refused() {
    alone!({
        seccomp::refuse(&[
            (libc::SYS_poll, libc::EPERM),
            (libc::SYS_ppoll, libc::EPERM),
        ]);
        for engine in [Engine::Vfork, Engine::Fork] {
            let error = fails(&mut spawner("/nowhere", engine));
            assert_eq!(error.stage(), Stage::Exec, "{error}");
            assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{error}");
            assert_eq!(children(), 0, "{engine:?} left a child");
        }
    });
}

#[test]
fn fork_without_set_robust_list_is_an_error_and_does_not_hang() {
    alone!({
        seccomp::refuse(&[(libc::SYS_set_robust_list, libc::ENOSYS)]);
        let error = fails(&mut spawner("/bin/true", Engine::Fork));
        assert_eq!(error.stage(), Stage::Create, "{error}");
        assert_eq!(error.raw_os_error(), Some(libc::ENOSYS), "{error}");
        assert_eq!(children(), 0);
    });
}

#[test]
fn fork_without_gettid_is_an_error_and_does_not_hang() {
    alone!({
        seccomp::refuse(&[(libc::SYS_gettid, libc::EPERM)]);
        let error = fails(&mut spawner("/bin/true", Engine::Fork));
        assert_eq!(error.stage(), Stage::Create, "{error}");
        assert_eq!(error.raw_os_error(), Some(libc::EPERM), "{error}");
        assert_eq!(children(), 0);
    });
}

#[test]
fn fork_sleeps_by_no_call_that_panics_when_it_is_refused() {
    alone!({
        seccomp::refuse(&[
            (libc::SYS_nanosleep, libc::EPERM),
            (libc::SYS_clock_nanosleep, libc::EPERM),
        ]);
        for _ in 0..200 {
            let shim = spawner("/bin/true", Engine::Fork).spawn().expect("spawn");
            shim.child.process().wait().expect("poll");
        }
    });
}

#[test]
fn fork_burns_no_processor_where_its_wait_is_refused() {
    alone!({
        let cpu_time = || {
            let mut time = std::mem::MaybeUninit::<libc::timespec>::zeroed();
            // SAFETY: there is room for the answer, and zeros are one.
            let time = unsafe {
                assert_eq!(
                    libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, time.as_mut_ptr()),
                    0
                );
                time.assume_init()
            };
            std::time::Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
        };
        let mut spawner = spawner("/bin/true", Engine::Fork);
        // SAFETY: one system call.
        unsafe {
            spawner.pre_exec(|| {
                let time = libc::timespec {
                    tv_sec: 0,
                    tv_nsec: 600_000_000,
                };
                libc::nanosleep(&raw const time, std::ptr::null_mut());
                Ok(())
            })
        };
        seccomp::refuse(&[(libc::SYS_futex, libc::EPERM)]);
        let before = cpu_time();
        let shim = spawner.spawn().expect("spawn");
        let used = cpu_time().saturating_sub(before);
        assert!(used.as_millis() < 300, "{used:?} in a wait of 600 ms");
        drop(shim);
    });
}
