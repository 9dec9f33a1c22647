//! A program that is open for writing while it is spawned.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use shim_spawner::{Engine, ShimSpawner, SpawnError, Stage};
use workspace_tests::spawn_case::{ends_well, fails, spawner_of};
use workspace_tests::{Folder, alone, by_every_method, time_limit};

/// A program of its own.
fn program(folder: &Folder, name: &str) -> PathBuf {
    let path = folder.join(name);
    fs::copy("/bin/true", &path).expect("copy");
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("chmod");
    path
}

fn writer(path: &Path) -> File {
    File::options()
        .write(true)
        .open(path)
        .expect("open for writing")
}

#[track_caller]
fn is_busy(error: &SpawnError, program: &Path) {
    let seen = (error.stage(), error.raw_os_error());
    assert_eq!(seen, (Stage::Exec, Some(libc::ETXTBSY)), "{error}");
    assert_eq!(error.path(), Some(program));
}

by_every_method!(
    fn busy_program_is_an_error_at_once_unless_asked_otherwise() {
        let folder = Folder::new();
        let program = program(&folder, "program");
        let writer = writer(&program);
        is_busy(&fails("busy", &mut spawner_of(&program)), &program);
        drop(writer);
        ends_well(&spawner_of(&program).spawn().expect("spawn"));
    }
);

by_every_method!(
    fn busy_program_is_tried_again_until_it_is_closed() {
        let folder = Folder::new();
        let program = program(&folder, "program");
        let writer = writer(&program);
        let busy = Duration::from_millis(50);
        thread::scope(|scope| {
            let began = Instant::now();
            scope.spawn(move || {
                thread::sleep(busy);
                drop(writer);
            });
            let shim = spawner_of(&program).retry_busy(time_limit()).spawn();
            assert!(began.elapsed() >= busy);
            ends_well(&shim.expect("spawn"));
        });
    }
);

by_every_method!(
    fn program_that_stays_busy_is_an_error_when_the_time_is_over() {
        let folder = Folder::new();
        let program = program(&folder, "program");
        let file = folder.join("identity");
        let _writer = writer(&program);
        let time = Duration::from_millis(50);
        let mut spawner = spawner_of(&program);
        spawner.retry_busy(time).identity_file(&file);
        let began = Instant::now();
        is_busy(&fails("busy", &mut spawner), &program);
        assert!(began.elapsed() >= time);
        assert_eq!(folder.names(), ["program"], "of the tries nothing is left");
    }
);

by_every_method!(
    fn other_errors_are_not_tried_again() {
        let mut spawner = spawner_of("/nonexistent");
        spawner.retry_busy(Duration::MAX);
        let error = fails("no program", &mut spawner);
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{error}");
    }
);

/// Each child inherits what the others are being written by: two that waited for each other's exec
/// would wait for ever.
#[test]
fn threads_that_each_write_a_program_and_spawn_it_all_succeed() {
    alone!({
        let folder = Folder::new();
        let content = fs::read("/bin/true").expect("a program");
        for engine in [Engine::Vfork, Engine::Fork] {
            thread::scope(|scope| {
                for thread in 0..4 {
                    let path = folder.join(format!("program-{thread}"));
                    let content = &content;
                    scope.spawn(move || {
                        for _ in 0..50 {
                            let _ = fs::remove_file(&path);
                            fs::write(&path, content).expect("write");
                            fs::set_permissions(&path, Permissions::from_mode(0o755))
                                .expect("chmod");
                            let mut spawner = ShimSpawner::new(&path);
                            spawner.engine(engine).retry_busy(time_limit());
                            ends_well(&spawner.spawn().expect("spawn"));
                        }
                    });
                }
            });
        }
    });
}
