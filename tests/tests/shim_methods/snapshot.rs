//! Spawners of these cases.

use shim_spawner::{ShimSpawner, Stdio};
use workspace_tests::fd_table;
use workspace_tests::orders::Order;
pub use workspace_tests::spawn_case::{Snapshot, fails, own_pid, pid_of_the_kernel, spawner_of};

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
