//! What a spawn must not change: the descriptors and the children of this process.

use std::collections::BTreeMap;

use shim_spawner::{ShimSpawner, SpawnError, Stdio};
use workspace_tests::clone_method::method;
use workspace_tests::orders::Order;
use workspace_tests::{fd_table, proc_fs};

/// Descriptors by number, and children by pid with their state.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot {
    fds: BTreeMap<i32, String>,
    children: Vec<(i32, char)>,
}

/// A spawner with the engine of that method.
pub fn spawner_of(program: impl AsRef<std::ffi::OsStr>) -> ShimSpawner {
    let mut spawner = ShimSpawner::new(program);
    spawner.engine(method().engine());
    spawner
}

pub fn own_pid() -> i32 {
    i32::try_from(std::process::id()).expect("a pid")
}

/// Not the C library's `getpid`, which older ones answer from memory.
pub fn pid_of_the_kernel() -> i32 {
    // SAFETY: takes no pointer.
    i32::try_from(unsafe { libc::syscall(libc::SYS_getpid) }).unwrap_or(0)
}

impl Snapshot {
    pub fn take() -> Snapshot {
        // The first link leaves a descriptor and a thread for the life of its process: the
        // sentinel's. What a spawn leaves behind is counted with those.
        drop(watchdog_pipe::channel());
        let children = proc_fs::children_of(own_pid());
        Snapshot {
            fds: proc_fs::own_fds(),
            children: children.iter().map(|stat| (stat.pid, stat.state)).collect(),
        }
    }

    /// Descriptors that were not there, or were another file's.
    pub fn opened_since(&self, before: &Snapshot) -> Vec<i32> {
        let new = self
            .fds
            .iter()
            .filter(|(fd, file)| before.fds.get(fd) != Some(file));
        new.map(|(fd, _)| *fd).collect()
    }
}

/// The error of a spawn that must fail, and that must leave nothing behind.
pub fn fails(what: &str, spawner: &mut ShimSpawner) -> SpawnError {
    let before = Snapshot::take();
    let error = spawner.spawn().expect_err(what);
    assert_eq!(Snapshot::take(), before, "left behind: {what}: {error}");
    error
}

/// A spawner that uses everything: pipes, configuration, watchdog and a descriptor of the caller's.
pub fn full(program: impl AsRef<std::ffi::OsStr>) -> ShimSpawner {
    let mut spawner = spawner_of(program);
    spawner
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .config(b"secret".as_slice())
        .map_fd(fd_table::file(), 7);
    spawner
}

/// The fixture that does what it is told, with both pipes.
pub fn role(order: &Order) -> ShimSpawner {
    let mut spawner = spawner_of(env!("CARGO_BIN_EXE_shim_role"));
    spawner
        .arg(order.argument())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    spawner
}

/// A shell that runs `script`, with both pipes.
pub fn shell(script: &str) -> ShimSpawner {
    let mut spawner = spawner_of("/bin/sh");
    spawner
        .arg("-c")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    spawner
}
