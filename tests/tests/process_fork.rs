//! `Process::fork`: a child with a handle from birth.

use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use pidfd_watcher::{Error, Process, Watcher};
use workspace_tests::namespace::looked_at;
use workspace_tests::{Told, alone, fd_limit, proc_fs, reaped, seccomp, time_limit};

fn code(process: &Process) -> Option<i32> {
    let exit = process
        .wait_timeout(time_limit())
        .expect("poll")
        .expect("ends");
    exit.status.and_then(|status| status.code())
}

/// Close-on-exec here, not there at all in the child, and good for all that a handle is.
#[test]
fn forked_child_has_a_handle_from_birth_and_no_copy_of_it() {
    alone!({
        let before = proc_fs::own_fds();
        // SAFETY: this process has one thread.
        let process = unsafe {
            Process::fork(|| {
                i32::from(
                    proc_fs::own_fds()
                        .values()
                        .any(|file| file.contains("pidfd")),
                )
            })
        };
        let process = process.expect("fork");
        let number = process.as_fd().as_raw_fd();
        assert!(proc_fs::own_fds()[&number].contains("pidfd"));
        assert_eq!(
            rustix::io::fcntl_getfd(&process).expect("open"),
            rustix::io::FdFlags::CLOEXEC
        );
        assert_eq!(code(&process), looked_at(0), "the child sees no pidfd");
        assert_eq!(
            process
                .reap()
                .expect("own child")
                .status
                .and_then(|s| s.code()),
            Some(0)
        );
        assert_eq!(proc_fs::own_fds(), before);
    });
}

/// Neither a panic nor the end of the closure comes out in the copy of the parent's frames, or of
/// what it had registered for its own exit.
#[test]
fn nothing_of_the_parents_runs_in_a_forked_child_but_the_closure() {
    alone!({
        /// A frame of the parent's that is unwound in the copy.
        struct Frame(u32);
        impl Drop for Frame {
            fn drop(&mut self) {
                if std::process::id() != self.0 {
                    // SAFETY: ends the copy.
                    unsafe { libc::_exit(99) };
                }
            }
        }
        static PARENT: AtomicI32 = AtomicI32::new(0);
        extern "C" fn at_exit() {
            // SAFETY: both have no memory effect.
            unsafe {
                if libc::getpid() != PARENT.load(Ordering::Relaxed) {
                    libc::_exit(98);
                }
            }
        }
        let _frame = Frame(std::process::id());
        PARENT.store(std::process::id().cast_signed(), Ordering::Relaxed);
        // SAFETY: the function lives as long as the program.
        assert_eq!(unsafe { libc::atexit(at_exit) }, 0);

        // SAFETY: this process has one thread, here and below.
        let process = unsafe { Process::fork(|| panic!("as planned")) }.expect("fork");
        assert_eq!(code(&process), looked_at(101));
        process.reap().expect("own child");
        // SAFETY: as above.
        let process = unsafe { Process::fork(|| std::panic::panic_any(Frame(0))) }.expect("fork");
        assert_eq!(code(&process), looked_at(101), "nor is the payload dropped");
        process.reap().expect("own child");
        // SAFETY: as above.
        let process = unsafe { Process::fork(|| 0x1_23) }.expect("fork");
        let watcher = Watcher::new().expect("watcher");
        assert_eq!(
            Told::by(&watcher, &process).0.code(),
            looked_at(0x23),
            "the low eight bits"
        );
        process.reap().expect("own child");
    });
}

/// Whoever waits for children the plain way finds it too: its end is announced by SIGCHLD.
#[test]
fn forked_child_is_found_by_a_plain_waitpid() {
    alone!({
        // SAFETY: this process has one thread.
        let process = unsafe { Process::fork(|| 3) }.expect("fork");
        let mut status = 0;
        // SAFETY: `status` is a valid place for the answer. waitpid(2) passes over children of
        // another exit signal.
        let reaped = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        assert_eq!(reaped, process.pid().as_raw_nonzero().get());
        assert_eq!(libc::WEXITSTATUS(status), 3);
    });
}

#[test]
fn refused_clone_is_a_typed_error_and_leaves_nothing() {
    alone!({
        let before = proc_fs::own_fds();
        for (errno, right) in [
            (
                libc::EPERM,
                (|e| matches!(e, Error::PermissionDenied(_))) as fn(&Error) -> bool,
            ),
            (libc::ENOSYS, |e| matches!(e, Error::Unsupported(_))),
            (libc::EAGAIN, |e| matches!(e, Error::TooManyProcesses(_))),
            (libc::ENOMEM, |e| matches!(e, Error::Io(_))),
        ] {
            seccomp::refuse(&[(libc::SYS_clone, errno)]);
            // SAFETY: this process has one thread.
            let error = unsafe { Process::fork(|| 0) }.expect_err("refused");
            assert!(right(&error), "{errno}: {error:?}");
            assert_eq!(error.raw_os_error(), Some(errno));
            assert_eq!(proc_fs::own_fds(), before);
        }
    });
}

#[test]
fn without_a_descriptor_no_child_is_made() {
    alone!({
        // SAFETY: this process has one thread.
        let forked = fd_limit::with(3, || unsafe { Process::fork(|| 0) });
        let error = forked.expect_err("no number left");
        assert!(matches!(error, Error::TooManyOpenFiles(_)), "{error:?}");
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        // SAFETY: no status is asked for.
        let none = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
        assert_eq!(none, -1, "no child was made");
    });
}

/// A copy of a handle, whose parent knows the status, has reaped nothing and does not say so.
#[test]
fn copy_of_a_handle_reaps_nothing_and_does_not_say_so() {
    alone!({
        // SAFETY: this process has one thread, here and below.
        let child = unsafe { Process::fork(|| 9) }.expect("fork");
        assert_eq!(code(&child), looked_at(9), "and the status is learned");
        // SAFETY: as above.
        let copy = unsafe {
            Process::fork(|| {
                let failed = child.clone().reap().expect_err("no child of this copy");
                assert!(matches!(failed.error, Error::NotChild(_)), "{failed}");
                assert_eq!(failed.error.raw_os_error(), Some(libc::ECHILD));
                // It may wait all the same.
                assert_eq!(code(&child), looked_at(9));
                0
            })
        };
        let copy = reaped(&copy.expect("fork"));
        assert_eq!(copy.status.and_then(|status| status.code()), Some(0));
        assert_eq!(
            child
                .reap()
                .expect("own child")
                .status
                .and_then(|s| s.code()),
            Some(9)
        );
    });
}
