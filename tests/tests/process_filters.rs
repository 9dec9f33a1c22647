//! Where a filter or a limit refuses what is thought to be infallible, no code of a dependency
//! panics.

use std::process::Command;

use pidfd_watcher::{Error, Process};
use rustix::process::{PidfdFlags, pidfd_open};
use workspace_tests::orders::Order;
use workspace_tests::{Held, alone, alone_in_pid_namespace, fd_limit, proc_fs, seccomp};

/// `PR_GET_AUXV`, Linux 6.4: the libc crate does not have it.
const PR_GET_AUXV: i32 = 0x4155_5856;

/// As on Linux before 6.4: the size of a page is asked for when the first status is learned.
#[test]
fn size_of_a_page_is_known_without_a_free_descriptor_and_without_the_auxiliary_vector() {
    alone!({
        let held = Held::new();
        seccomp::refuse_prctl(PR_GET_AUXV, libc::EINVAL);
        let highest = proc_fs::own_fds().into_keys().max().expect("0 to 2");
        fd_limit::set(u64::try_from(highest + 1).expect("positive"));
        let _taken = fd_limit::fill();
        held.kill();
        held.process().wait().expect("poll");
        let exit = held.process().clone().reap().expect("own child");
        let again = held.process().clone().reap().expect("known to be ours");
        assert_eq!(exit, again);
    });
}

/// No call of this one signals, but a filter on getpid is installed nowhere else than in a
/// namespace of its own.
#[test]
fn own_number_that_a_filter_refuses_is_a_typed_error() {
    alone_in_pid_namespace!({
        let held = Held::new();
        let pidfd = || pidfd_open(held.process().pid(), PidfdFlags::empty()).expect("own child");
        for errno in [libc::EPERM, libc::ENOSYS] {
            seccomp::refuse(&[(libc::SYS_getpid, errno), (libc::SYS_ioctl, libc::ENOTTY)]);
            let file = std::fs::File::open("/dev/null").expect("file");
            let error = Process::from_pidfd(file.into()).expect_err("no pidfd");
            assert!(
                matches!(error, Error::Unsupported(_) | Error::NotPidfd(_)),
                "{error:?}"
            );
            // /proc has a number, and nobody says whether it is one of this namespace.
            let error = Process::from_pidfd(pidfd()).expect_err("whose number?");
            assert!(matches!(error, Error::Unsupported(_)), "{error:?}");
        }
        held.exit(0);
    });
}

#[test]
fn wait_goes_on_where_a_filter_refuses_the_clocks_system_call() {
    alone!({
        seccomp::refuse(&[
            (libc::SYS_clock_gettime, libc::EPERM),
            (libc::SYS_clock_getres, libc::EPERM),
        ]);
        let mut child = Command::new(env!("CARGO_BIN_EXE_proc_target"))
            .arg(Order::Exit { code: 4 }.argument())
            .spawn()
            .expect("spawn");
        let process = Process::from_child(&mut child).expect("own child");
        // Most machines read the clock without a system call; where this one does not, that is an
        // error and no panic.
        if let Err(error) = process.wait_timeout(std::time::Duration::from_millis(1)) {
            assert!(matches!(error, Error::PermissionDenied(_)), "{error:?}");
        }
        process.wait().expect("poll");
        process.try_wait().expect("poll").expect("it has exited");
        let exit = process.reap().expect("own child");
        assert_eq!(exit.status.and_then(|status| status.code()), Some(4));
    });
}
