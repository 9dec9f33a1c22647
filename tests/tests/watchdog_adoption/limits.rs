//! An adoption that the system around it refuses something.

use std::io;

use rustix::pipe::{PipeFlags, pipe_with};
use watchdog_pipe::AdoptError;
use workspace_tests::inherited::{
    Inherited, everything, from_env, place, set_variable, then_a_good_one_is_adopted, value,
};
use workspace_tests::{alone, fd_limit};

/// An empty file system over /proc, in a mount namespace of this process's own.
fn hide_proc() {
    // SAFETY: the strings are C strings and no file system needs data; unshare has no memory
    // effect.
    unsafe {
        assert_eq!(
            libc::unshare(libc::CLONE_NEWNS),
            0,
            "{}",
            io::Error::last_os_error()
        );
        let (root, proc, none) = (c"/", c"/proc", c"none");
        let mount = |target: &std::ffi::CStr, kind: &std::ffi::CStr, flags| {
            libc::mount(
                none.as_ptr(),
                target.as_ptr(),
                kind.as_ptr(),
                flags,
                std::ptr::null(),
            )
        };
        assert_eq!(
            mount(root, none, libc::MS_REC | libc::MS_PRIVATE),
            0,
            "private"
        );
        assert_eq!(
            mount(proc, c"tmpfs", 0),
            0,
            "{}",
            io::Error::last_os_error()
        );
    }
    assert!(std::fs::read_dir("/proc/self/fd").is_err());
}

#[test]
fn writer_is_found_without_proc_and_adoption_works() {
    alone!({
        let good = Inherited::on(50);
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
        place(read, 60);
        let writer = place(write, 1000);
        hide_proc();
        set_variable(value(60));
        let error = from_env().expect_err("adopted what it must not");
        let AdoptError::HoldsWriter {
            fd: 60,
            writer: found,
        } = error
        else {
            panic!("{error:?}")
        };
        assert_eq!(found, writer);
        then_a_good_one_is_adopted(good.read);
    });
}

/// EMFILE at each descriptor that the adoption needs.
#[test]
fn adoption_without_a_free_descriptor_is_an_error_and_can_be_repeated() {
    alone!({
        let _good = Inherited::on(50);
        // Fill every hole below 50, so that the limit alone says how many are free.
        let holes = fd_limit::fill_below(50);
        assert!(!holes.is_empty());
        let mut failures = 0;
        for free in 0..10 {
            let before = everything();
            let adopted = fd_limit::with(51 + free, || {
                set_variable(value(50));
                from_env()
            });
            match adopted {
                Ok(watchdog) => {
                    assert!(watchdog.is_some());
                    assert!(
                        failures >= 2,
                        "an epoll instance and an eventfd: {failures} failures"
                    );
                    return;
                }
                Err(AdoptError::Io(error)) => {
                    assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
                    assert_eq!(everything(), before, "{free} free");
                    failures += 1;
                }
                Err(error) => panic!("{free} free: {error:?}"),
            }
        }
        panic!("not adopted with ten free descriptors");
    });
}

/// fs.epoll.max_user_watches counts for every process of the user, so the one watch that matters
/// here, of the pipe, is refused by a filter: ENOSPC, as the kernel has it.
#[test]
fn adoption_without_an_epoll_watch_is_an_error_and_can_be_repeated() {
    alone!({
        use seccompiler::{
            BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
            SeccompFilter, SeccompRule,
        };
        let good = Inherited::on(50);
        set_variable(value(good.read));
        let pipe = good.read.unsigned_abs().into();
        let third = SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, pipe);
        let rule = SeccompRule::new(vec![third.expect("a condition")]).expect("a rule");
        let filter = SeccompFilter::new(
            [(libc::SYS_epoll_ctl, vec![rule])].into_iter().collect(),
            SeccompAction::Allow,
            SeccompAction::Errno(libc::ENOSPC.unsigned_abs()),
            std::env::consts::ARCH
                .try_into()
                .expect("an architecture that seccompiler knows"),
        );
        let program: BpfProgram = filter
            .expect("a filter")
            .try_into()
            .expect("a filter that compiles");
        seccompiler::apply_filter(&program).expect("install the filter");
        let before = everything();
        let error = from_env().expect_err("adopted without a watch");
        assert_eq!(everything(), before);
        let AdoptError::Io(error) = error else {
            panic!("{error:?}")
        };
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
        // Nothing was claimed.
        let again = from_env().expect_err("adopted without a watch");
        assert!(matches!(again, AdoptError::Io(_)), "{again:?}");
    });
}
