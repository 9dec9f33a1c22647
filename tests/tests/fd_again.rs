//! What a failed spawn leaves for the next one.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fd_preserve::{ChildFdsError, PreserveFds};
use workspace_tests::fd_table::{file, file_at};
use workspace_tests::{alone, fd_limit};

/// Fails in the child: the target is above a limit that was lowered after `apply`.
fn fails_in_the_plan(command: &mut Command) {
    let spawned = fd_limit::with(150, || command.spawn().map(drop));
    let error = spawned.expect_err("above the limit");
    assert_eq!(error.raw_os_error(), Some(libc::EBADF), "{error}");
}

/// A failure that nobody asked about does not explain a later one: neither one before the plan's
/// turn, nor one after it with the same number.
#[test]
fn an_old_failure_explains_no_later_one() {
    alone!({
        let late = Arc::new(AtomicBool::new(false));
        let mut command = Command::new("/bin/true");
        let mut fds = PreserveFds::new();
        fds.map_fd(file(), 200).expect("map_fd");
        let applied = fds.apply(&mut command).expect("apply");
        let refuse = Arc::clone(&late);
        // SAFETY: an atomic load, and an error made of a number.
        unsafe {
            command.pre_exec(move || {
                if refuse.load(Ordering::Relaxed) {
                    Err(io::Error::from_raw_os_error(libc::EBADF))
                } else {
                    Ok(())
                }
            });
        }

        fails_in_the_plan(&mut command);
        late.store(true, Ordering::Relaxed);
        let error = command.spawn().map(drop).expect_err("the later closure's");
        assert_eq!(error.raw_os_error(), Some(libc::EBADF), "{error}");
        assert_eq!(applied.explain(&error), None, "the plan was installed");

        fails_in_the_plan(&mut command);
        command.current_dir("/nonexistent");
        let error = command.spawn().map(drop).expect_err("no such directory");
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{error}");
        assert_eq!(applied.explain(&error), None, "the plan had no turn");
    });
}

/// Somebody closes the placeholder on standard output, and the error socket lands there: told, not
/// passed on.
#[test]
fn an_error_socket_in_a_placeholders_place_is_a_collision() {
    alone!({
        let close = |number| {
            // SAFETY: the standard streams belong to the process, and this case is the process;
            // what the plan holds there is taken from it on purpose.
            assert_eq!(unsafe { libc::close(number) }, 0);
        };
        close(0);
        close(1);
        let mut command = Command::new("/nonexistent/program");
        let mut fds = PreserveFds::new();
        fds.map_fd(file_at(60), 9).expect("map_fd");
        let applied = fds.apply(&mut command).expect("apply");
        // The socket's ends take the two lowest free numbers, and the child keeps the second. On 0
        // it has a file by then.
        command.stdin(file_at(61));
        close(0);
        close(1);
        let error = command
            .spawn()
            .map(drop)
            .expect_err("spawned what cannot be");
        assert_eq!(
            applied.explain(&error),
            Some(ChildFdsError::TargetCollision { target: 1 }),
            "{error}"
        );
        // What is closed by now is not to be closed again.
        std::mem::forget(command);
    });
}
