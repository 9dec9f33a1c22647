//! The identity that a shim writes of itself before it executes the program, on every way to create
//! one.

use std::fs;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use pidfd_watcher::Signal;
use shim_spawner::{Engine, ShimHandler, ShimIdentity, ShimSpawner, SpawnError, Stage, Stdio};
use workspace_tests::clone_method::CloneMethod;
use workspace_tests::{Folder, alone, namespace, proc_fs, seccomp, until};

/// Each test on each method, in a process of its own, where no other method is to be had.
macro_rules! by_every_method {
    ($($test:ident,)*) => {
        #[cfg(target_arch = "x86_64")]
        by_every_method!(@method clone3, Clone3, $($test)*);
        by_every_method!(@method clone, Clone, $($test)*);
        by_every_method!(@method copy, Copy, $($test)*);
        by_every_method!(@method fork, Fork, $($test)*);
    };
    (@method $module:ident, $method:ident, $($test:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $test() {
                    workspace_tests::alone!({
                        let method = workspace_tests::clone_method::CloneMethod::$method;
                        method.force();
                        super::$test(method);
                    });
                }
            )*
        }
    };
}

by_every_method! {
    program_finds_its_identity_on_the_disk_and_so_does_its_handler,
    identity_is_written_where_the_runtime_is_and_not_where_the_shim_goes,
    adopted_shim_is_stopped_as_its_spawner_said,
    no_descriptor_of_it_reaches_the_program,
    spawn_that_fails_later_leaves_no_identity,
    spawn_that_fails_later_puts_back_what_was_there,
    folder_that_is_missing_or_forbidden_is_named,
    file_system_that_is_full_or_read_only_is_named,
    file_that_may_not_grow_is_an_error_and_no_signal,
    child_killed_while_it_writes_leaves_nothing,
    missing_proc_is_told_as_such,
    missing_descriptor_is_told_as_such,
}

fn spawner(method: CloneMethod, program: &str) -> ShimSpawner {
    let mut spawner = ShimSpawner::new(program);
    spawner.engine(method.engine()).detached(true);
    spawner
}

/// A detached shim that sleeps, with a record at `path`.
fn sleeper(method: CloneMethod, path: &Path) -> ShimSpawner {
    let mut spawner = spawner(method, "/bin/sleep");
    // Not the streams of the test, which would wait for their end if this shim were left over.
    spawner
        .arg("100")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .identity_file(path);
    spawner
}

/// Ends the sleeper with the test.
struct Ended(ShimHandler);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn no_child() {
    let own = std::process::id().cast_signed();
    assert!(proc_fs::children_of(own).is_empty(), "a child is left");
}

#[track_caller]
fn is(error: &SpawnError, stage: Stage, path: &Path, errno: i32) {
    let found = (error.stage(), error.path(), error.raw_os_error());
    assert_eq!(found, (stage, Some(path), Some(errno)), "{error}");
    no_child();
}

fn program_finds_its_identity_on_the_disk_and_so_does_its_handler(method: CloneMethod) {
    let folder = Folder::new();
    let path = folder.join("shim");
    for detached in [false, true] {
        // What was there before is of no meaning.
        let mut spawner = spawner(method, "/bin/sh");
        let shim = spawner
            .args(["-c", "cat \"$0\"; echo $$; read line"])
            .arg(&path)
            .detached(detached)
            .identity_file(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("spawn");
        let mut handler = ShimHandler::new(shim);
        let identity = handler.identity().expect("alive");
        assert_eq!(ShimIdentity::load(&path).expect("load"), identity);
        assert_eq!(
            fs::read_to_string(&path).expect("read"),
            identity.to_string()
        );
        assert_eq!(
            identity.open().expect("the same process").pid(),
            handler.pid()
        );
        drop(handler.take_stdin());
        let mut said = String::new();
        let mut stdout = handler.take_stdout().expect("piped");
        stdout.read_to_string(&mut said).expect("the program");
        assert_eq!(said, format!("{identity}{}\n", handler.pid()));
        handler.wait().expect("reap");
        assert_eq!(folder.names(), ["shim"]);
    }
}

fn identity_is_written_where_the_runtime_is_and_not_where_the_shim_goes(method: CloneMethod) {
    let folder = Folder::new();
    std::env::set_current_dir(folder.path()).expect("the folder");
    let shim = sleeper(method, Path::new("shim"))
        .current_dir("/")
        .spawn()
        .expect("spawn");
    let shim = Ended(ShimHandler::new(shim));
    let saved = ShimIdentity::load(folder.join("shim")).expect("load");
    assert_eq!(saved, shim.0.identity().expect("alive"));
}

fn adopted_shim_is_stopped_as_its_spawner_said(method: CloneMethod) {
    let folder = Folder::new();
    let path = folder.join("shim");
    let policy = shim_spawner::StopPolicy::new()
        .signal(Signal::USR1)
        .grace(workspace_tests::time_limit());
    let shim = sleeper(method, &path).stop_policy(policy).spawn();
    let shim = Ended(ShimHandler::new(shim.expect("spawn")));
    let mut adopted = ShimHandler::adopt(&ShimIdentity::load(&path).expect("load")).expect("adopt");
    assert_eq!(
        adopted.identity().expect("alive"),
        shim.0.identity().expect("alive")
    );
    let status = adopted.stop().expect("stop").exit();
    let status = status.status.expect("own child");
    assert_eq!(status.signal(), Some(libc::SIGUSR1));
}

fn no_descriptor_of_it_reaches_the_program(method: CloneMethod) {
    let folder = Folder::new();
    let path = folder.join("shim");
    let before = proc_fs::own_fds();
    let shim = sleeper(method, &path).spawn().expect("spawn");
    let shim = Ended(ShimHandler::new(shim));
    let pid = shim.0.pid().as_raw_nonzero().get();
    // The loader of the program opens libraries at first.
    until("it has its three streams and no more", || {
        proc_fs::fds_of(pid).into_keys().eq(0..=2).then_some(())
    });
    drop(shim);
    // The folder's is closed here too. The watcher, which reaps, keeps its own.
    let ours = proc_fs::own_fds();
    let left = ours.iter().filter(|(fd, _)| !before.contains_key(fd));
    for (fd, file) in left {
        assert!(file.starts_with("anon_inode:"), "{fd}: {file}");
    }
}

fn spawn_that_fails_later_leaves_no_identity(method: CloneMethod) {
    let folder = Folder::new();
    let path = folder.join("shim");
    let missing = Path::new("/nonexistent/shim");
    let mut no_program = spawner(method, "/nonexistent/shim");
    let error = no_program.identity_file(&path).spawn().expect_err("none");
    is(&error, Stage::Exec, missing, libc::ENOENT);
    assert!(folder.names().is_empty(), "{:?}", folder.names());
    let mut no_folder = sleeper(method, &path);
    let error = no_folder.current_dir(missing).spawn().expect_err("none");
    is(&error, Stage::CurrentDir, missing, libc::ENOENT);
    assert!(folder.names().is_empty(), "{:?}", folder.names());
    if method == CloneMethod::Fork {
        let mut closure = sleeper(method, &path);
        // SAFETY: raise(3) is async-signal-safe.
        unsafe {
            closure.pre_exec(|| {
                libc::raise(libc::SIGKILL);
                Ok(())
            })
        };
        let error = closure.spawn().expect_err("killed");
        assert_eq!(error.stage(), Stage::PreExec);
        no_child();
        assert!(folder.names().is_empty(), "{:?}", folder.names());
    }
}

fn spawn_that_fails_later_puts_back_what_was_there(method: CloneMethod) {
    let folder = Folder::new();
    let path = folder.join("shim");
    let first = sleeper(method, &path).spawn().expect("spawn");
    let first = Ended(ShimHandler::new(first));
    let error = spawner(method, "/nonexistent/shim")
        .identity_file(&path)
        .spawn()
        .expect_err("no such program");
    assert_eq!(error.stage(), Stage::Exec);
    let saved = ShimIdentity::load(&path).expect("load");
    assert_eq!(saved, first.0.identity().expect("alive"));
    assert_eq!(folder.names(), ["shim"]);
    let second = sleeper(method, &path).spawn().expect("spawn");
    let second = Ended(ShimHandler::new(second));
    let saved = ShimIdentity::load(&path).expect("load");
    assert_eq!(saved, second.0.identity().expect("alive"));
    assert_eq!(folder.names(), ["shim"]);
}

fn folder_that_is_missing_or_forbidden_is_named(method: CloneMethod) {
    let folder = Folder::new();
    let path = folder.join("none/shim");
    let error = sleeper(method, &path).spawn().expect_err("no folder");
    is(&error, Stage::IdentityFile, &path, libc::ENOENT);
    let path = Path::new("/dev/null/shim");
    let error = sleeper(method, path).spawn().expect_err("no folder");
    is(&error, Stage::IdentityFile, path, libc::ENOTDIR);
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root to become somebody else");
        return;
    }
    // SAFETY: plain numbers, for this thread alone; this process has one.
    let done = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
    assert_eq!(done, 0, "setresuid");
    let path = folder.join("shim");
    let error = sleeper(method, &path).spawn().expect_err("not our folder");
    is(&error, Stage::IdentityFile, &path, libc::EACCES);
    assert!(folder.names().is_empty(), "{:?}", folder.names());
}

fn file_system_that_is_full_or_read_only_is_named(method: CloneMethod) {
    let folder = Folder::new();
    if !namespace::unshare_mounts() {
        return;
    }
    namespace::mount_tmpfs(folder.path(), "size=16k");
    let path = folder.join("shim");
    sleeper_is_recorded(method, &path);
    fs::write(folder.join("fill"), [0; 4096 * 2]).expect("two pages");
    let filled = fs::write(folder.join("more"), [0; 4096 * 2]);
    filled.expect_err("the file system is full");
    // A file that has nothing in it takes no page.
    let other = folder.join("other");
    let error = sleeper(method, &other).spawn().expect_err("full");
    is(&error, Stage::IdentityFile, &other, libc::ENOSPC);
    let before = fs::read(&path).expect("read");
    let error = sleeper(method, &path).spawn().expect_err("full");
    is(&error, Stage::IdentityFile, &path, libc::ENOSPC);
    assert_eq!(fs::read(&path).expect("read"), before);
    assert_eq!(folder.names(), ["fill", "more", "shim"]);

    namespace::mount_tmpfs(folder.path(), "ro");
    let error = sleeper(method, &path).spawn().expect_err("read-only");
    is(&error, Stage::IdentityFile, &path, libc::EROFS);
}

fn sleeper_is_recorded(method: CloneMethod, path: &Path) {
    let shim = sleeper(method, path).spawn().expect("spawn");
    let shim = Ended(ShimHandler::new(shim));
    let saved = ShimIdentity::load(path).expect("load");
    assert_eq!(saved, shim.0.identity().expect("alive"));
}

fn file_that_may_not_grow_is_an_error_and_no_signal(method: CloneMethod) {
    let folder = Folder::new();
    let path = folder.join("shim");
    let limit = libc::rlimit {
        rlim_cur: 100,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: the limit is valid for the call.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) };
    assert_eq!(set, 0);
    let error = sleeper(method, &path).spawn().expect_err("too large");
    is(&error, Stage::IdentityFile, &path, libc::EFBIG);
    assert!(folder.names().is_empty(), "{:?}", folder.names());
}

fn child_killed_while_it_writes_leaves_nothing(method: CloneMethod) {
    let folder = Folder::new();
    let path = folder.join("shim");
    fs::write(&path, "what was there").expect("write");
    // A core dump of a child that shares our memory would be one of ours.
    let limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the limit is valid for the call.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const limit) };
    assert_eq!(set, 0);
    seccomp::kill_process_at(&[libc::SYS_fchmod]);
    let error = sleeper(method, &path).spawn().expect_err("killed");
    assert_eq!(error.stage(), Stage::IdentityFile, "{error}");
    let status = error.exit_status().expect("it died");
    assert_eq!(status.signal(), Some(libc::SIGSYS));
    no_child();
    assert_eq!(folder.names(), ["shim"]);
    assert_eq!(fs::read(&path).expect("read"), b"what was there");
}

fn missing_proc_is_told_as_such(method: CloneMethod) {
    let folder = Folder::new();
    if !namespace::unshare_mounts() {
        return;
    }
    namespace::mount_empty_proc();
    let path = folder.join("shim");
    let error = sleeper(method, &path).spawn().expect_err("no /proc");
    let found = (error.stage(), error.path(), error.raw_os_error());
    let proc = Some(Path::new("/proc"));
    assert_eq!(
        found,
        (Stage::Identity, proc, Some(libc::ENOENT)),
        "{error}"
    );
    assert!(folder.names().is_empty(), "{:?}", folder.names());
}

fn missing_descriptor_is_told_as_such(method: CloneMethod) {
    let folder = Folder::new();
    let path = folder.join("shim");
    drop(Ended(ShimHandler::new(
        spawner(method, "/bin/true").spawn().expect("spawn"),
    )));
    let mut told = Vec::new();
    let mut held = Vec::new();
    let lowest = rustix::io::dup(rustix::stdio::stderr()).expect("dup");
    let lowest = std::os::fd::AsRawFd::as_raw_fd(&lowest);
    let limit = libc::rlimit {
        rlim_cur: u64::try_from(lowest + 12).expect("positive"),
        rlim_max: libc::RLIM_INFINITY,
    };
    let mut before = limit;
    // SAFETY: both calls have a valid place for the limit.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut before), 0);
        let lowered = libc::rlimit {
            rlim_max: before.rlim_max,
            ..limit
        };
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const lowered), 0);
    }
    // From no number left to the first spawn that works.
    while let Ok(fd) = rustix::io::dup(rustix::stdio::stderr()) {
        held.push(fd);
    }
    loop {
        match sleeper(method, &path).spawn() {
            Ok(shim) => {
                drop(held);
                drop(Ended(ShimHandler::new(shim)));
                break;
            }
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
                told.push(error.stage());
                held.pop().expect("some number is enough");
            }
        }
    }
    assert!(told.contains(&Stage::Identity), "{told:?}");
    no_child();
    assert_eq!(folder.names(), ["shim"]);
}

#[test]
fn children_in_another_pid_namespace_are_refused_before_there_is_one() {
    alone!({
        let folder = Folder::new();
        // SAFETY: a plain number; this process has one thread.
        if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
            let error = std::io::Error::last_os_error();
            eprintln!("skipped: no PID namespace to be had here: {error}");
            return;
        }
        let path = folder.join("shim");
        for engine in [Engine::Vfork, Engine::Fork] {
            let mut spawner = ShimSpawner::new("/bin/true");
            let failed = spawner.engine(engine).identity_file(&path).spawn();
            let error = failed.expect_err("it would see another number");
            assert_eq!(error.stage(), Stage::Identity, "{error}");
            let cause = std::error::Error::source(&error).expect("a cause");
            let cause = cause.downcast_ref::<std::io::Error>().expect("an io error");
            assert_eq!(cause.kind(), std::io::ErrorKind::Unsupported);
        }
        assert!(folder.names().is_empty(), "{:?}", folder.names());
    });
}

#[test]
fn released_shim_has_an_identity_that_says_so() {
    let folder = Folder::new();
    let path = folder.join("shim");
    let mut spawner = ShimSpawner::new("/bin/sleep");
    let shim = spawner.arg("1000").identity_file(&path).spawn();
    let mut shim = Ended(ShimHandler::new(shim.expect("spawn")));
    let saved = ShimIdentity::load(&path).expect("load");
    assert_eq!(saved.is_attached(), Some(true));
    shim.0.release().expect("release");
    shim.0.identity().expect("alive").save(&path).expect("save");
    let saved = ShimIdentity::load(&path).expect("load");
    assert_eq!(saved.is_attached(), Some(false));
    assert_eq!(saved.pid(), shim.0.pid());
}

/// Older kernels let root alone read the fdinfo of a process that gave up its privileges, that
/// process not included.
#[test]
fn shim_is_found_by_a_runtime_that_may_not_read_its_own_fdinfo() {
    alone!({
        if !namespace::unshare_mounts() {
            return;
        }
        let shim = ShimSpawner::new("/bin/sleep")
            .arg("1000")
            .detached(true)
            .spawn();
        let shim = Ended(ShimHandler::new(shim.expect("spawn")));
        let identity = shim.0.identity().expect("alive");
        let own = std::process::id();
        let fdinfo = format!("/proc/{own}/task/{own}/fdinfo");
        namespace::mount_tmpfs(Path::new(&fdinfo), "mode=0");
        // SAFETY: plain numbers, for this thread alone; this process has one. The saved user may
        // signal the shim later.
        let done = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 0) };
        assert_eq!(done, 0, "setresuid");
        let denied = fs::read(format!("{fdinfo}/0")).expect_err("not ours to read");
        assert_eq!(denied.raw_os_error(), Some(libc::EACCES));
        let found = identity.open().expect("the same process");
        assert_eq!(found.pid(), shim.0.pid());
        assert_eq!(shim.0.identity().expect("alive"), identity);
        // SAFETY: as above.
        let done = unsafe { libc::syscall(libc::SYS_setresuid, 0, 0, 0) };
        assert_eq!(done, 0, "setresuid");
        shim.0.kill().expect("ours");
        found.wait().expect("poll");
        let pid = shim.0.pid();
        drop(shim);
        // SAFETY: as above.
        let done = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
        assert_eq!(done, 0, "setresuid");
        let error = ShimIdentity::of(&found).expect_err("reaped");
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH), "{pid}");
        assert!(matches!(
            identity.open(),
            Err(shim_spawner::AdoptError::Gone)
        ));
    });
}
