//! System calls that a filter refuses are typed errors, and no panic of anybody's.

use std::process::Command;
use std::sync::mpsc::sync_channel;

use fd_preserve::{Error, PreserveFds};
use workspace_tests::fd_table::file;
use workspace_tests::halt::Halt;
use workspace_tests::{alone, fd_limit, seccomp, time_limit};

#[test]
fn second_plan_is_refused_where_nobody_may_sleep() {
    alone!({
        let mut command = Command::new("/bin/true");
        PreserveFds::new().apply(&mut command).expect("apply");
        seccomp::refuse(&[
            (libc::SYS_nanosleep, libc::EPERM),
            (libc::SYS_clock_nanosleep, libc::EPERM),
        ]);
        let second = PreserveFds::new().apply(&mut command);
        assert!(matches!(second, Err(Error::AlreadyApplied)), "{second:?}");
        assert!(command.status().expect("spawn").success());
    });
}

#[test]
fn plan_without_the_page_that_tells_a_child_from_its_parent_is_refused() {
    alone!({
        seccomp::refuse(&[(libc::SYS_madvise, libc::EPERM)]);
        let refused = PreserveFds::new().apply(&mut Command::new("/bin/true"));
        let Err(Error::WipedPage { source }) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(source.raw_os_error(), Some(libc::EPERM));
    });
}

/// Before Linux 6.4 there is no `PR_GET_AUXV`, and without a descriptor no /proc/self/auxv: a
/// library that asks for the page size there may panic.
#[test]
fn plan_without_a_free_descriptor_is_an_error_where_the_auxiliary_vector_is_hidden() {
    alone!({
        let source = file();
        fd_limit::set(64);
        let fill = fd_limit::fill();
        seccomp::refuse(&[(libc::SYS_prctl, libc::EINVAL)]);
        let refused = PreserveFds::new().map_borrowed_fd(&source, 9).map(drop);
        assert!(
            matches!(refused, Err(Error::TooManyOpenFiles { .. })),
            "{refused:?}"
        );
        // The number is taken, so that nothing has to be duplicated: the parent's half works, and
        // std's socket fails.
        let mut fds = PreserveFds::new();
        fds.preserve_fd(source).expect("preserve_fd");
        let mut command = Command::new("/bin/true");
        fds.apply(&mut command).expect("apply");
        let error = command.spawn().map(drop).expect_err("no descriptor");
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
        drop(fill);
        assert!(command.status().expect("spawn").success());
    });
}

/// dup(2) has two errors that pass: a signal came, or another thread was opening a file on the
/// number.
#[test]
fn duplication_that_may_pass_a_moment_later_is_tried_again() {
    alone!({
        let mut fds = PreserveFds::new();
        fds.map_fd(file(), 9).expect("map_fd");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "test -e /proc/self/fd/9"]);
        fds.apply(&mut command).expect("apply");
        std::thread::scope(|scope| {
            let (give, take) = sync_channel(1);
            let tried = scope.spawn(move || {
                let halt: Halt = take.recv_timeout(time_limit()).expect("a halt");
                for errno in [libc::EINTR, libc::EBUSY] {
                    halt.next().expect("a call").fail(errno);
                }
                halt.next().expect("it is tried again").go_on();
                while let Some(call) = halt.next() {
                    call.go_on();
                }
            });
            scope.spawn(move || {
                give.send(Halt::at(&[libc::SYS_dup3])).expect("give");
                assert!(command.status().expect("spawn").success());
            });
            tried.join().expect("as often as it failed");
        });
    });
}
