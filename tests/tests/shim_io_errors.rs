//! Errors of shim-spawner behind `?` in a function that returns `io::Result`.

use std::io::{self, ErrorKind};

use shim_spawner::{ConfigError, ShimHandler, ShimSpawner, SpawnError, Stage, Stdio, StopError};
use workspace_tests::fd_table::file;
use workspace_tests::{alone, seccomp};

fn spawn(spawner: &mut ShimSpawner) -> io::Result<ShimHandler> {
    Ok(ShimHandler::new(spawner.spawn()?))
}

/// The error that a caller gets who knows only `io::Error`.
fn fails(spawner: &mut ShimSpawner) -> io::Error {
    spawn(spawner).expect_err("no such shim")
}

/// And the one that is inside it.
fn inside(error: &io::Error) -> &SpawnError {
    let inner = error.get_ref().expect("an error inside");
    inner.downcast_ref().expect("ours")
}

#[test]
fn failed_system_call_of_a_spawn_keeps_its_number() {
    let error = fails(&mut ShimSpawner::new("/no/such/program"));
    assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    let error = fails(ShimSpawner::new("true").current_dir("/dev/null"));
    assert_eq!(error.raw_os_error(), Some(libc::ENOTDIR));
}

#[test]
fn request_that_makes_no_sense_is_invalid_input_with_our_error_inside() {
    let error = fails(ShimSpawner::new("true").arg("a\0b"));
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(inside(&error).stage(), Stage::Arguments);

    let error = fails(
        ShimSpawner::new("true")
            .map_fd(file(), 40)
            .map_fd(file(), 40),
    );
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(inside(&error).stage(), Stage::Descriptors);
}

#[test]
fn child_that_died_before_its_exec_is_an_error_with_its_status_inside() {
    let mut spawner = ShimSpawner::new("true");
    // SAFETY: _exit(2) is async-signal-safe.
    unsafe { spawner.pre_exec(|| libc::_exit(3)) };
    let error = fails(&mut spawner);
    assert_eq!(error.kind(), ErrorKind::Other);
    let status = inside(&error).exit_status().expect("our child's");
    assert_eq!(status.code(), Some(3));
}

#[test]
fn refused_stop_keeps_its_number_and_a_futile_one_is_timed_out() {
    alone!({
        let mut cat = ShimSpawner::new("cat");
        let mut shim = spawn(cat.stdin(Stdio::piped())).expect("spawn");
        seccomp::refuse(&[(libc::SYS_pidfd_send_signal, libc::EPERM)]);
        let stop = |shim: &mut ShimHandler| -> io::Result<()> {
            let _ = shim.stop()?;
            Ok(())
        };
        let error = stop(&mut shim).expect_err("refused");
        assert_eq!(error.raw_os_error(), Some(libc::EPERM));

        let futile = io::Error::from(StopError::StillAlive { pid: shim.pid() });
        assert_eq!(futile.kind(), ErrorKind::TimedOut);
        assert!(
            futile
                .get_ref()
                .is_some_and(|inner| inner.is::<StopError>())
        );
        drop(shim.take_stdin());
        shim.wait().expect("wait");
    });
}

#[test]
fn configuration_that_was_not_meant_is_invalid_data_with_our_error_inside() {
    let error = io::Error::from(ConfigError::NotSealed { fd: 4 });
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert!(
        error
            .get_ref()
            .is_some_and(|inner| inner.is::<ConfigError>())
    );
    let error = io::Error::from(ConfigError::Io(io::Error::from_raw_os_error(libc::ENOMEM)));
    assert_eq!(error.raw_os_error(), Some(libc::ENOMEM));
}
