//! The size of a page, where the kernel does not tell it as easily as this one does.

use std::env;
use std::fs::File;
use std::os::fd::AsRawFd;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use watchdog_pipe::{AdoptError, ENV_VAR, Watchdog};
use workspace_tests::{alone, fd_limit};

/// As a kernel before Linux 6.4 answers: it does not know `PR_GET_AUXV`.
fn kernel_without_auxv() {
    /// include/uapi/linux/prctl.h
    const PR_GET_AUXV: u64 = 0x4155_5856;
    let (length, equal) = (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq);
    let condition = SeccompCondition::new(0, length, equal, PR_GET_AUXV).expect("a condition");
    let rule = SeccompRule::new(vec![condition]).expect("a rule");
    let filter = SeccompFilter::new(
        [(libc::SYS_prctl, vec![rule])].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EINVAL.unsigned_abs()),
        env::consts::ARCH.try_into().expect("an architecture"),
    );
    let program: BpfProgram = filter.and_then(TryInto::try_into).expect("a filter");
    seccompiler::apply_filter(&program).expect("install the filter");
}

/// Every number is taken, and what follows is out of reach.
fn take_every_descriptor() -> Vec<File> {
    fd_limit::set(64);
    fd_limit::fill()
}

#[test]
fn channel_without_a_free_descriptor_is_an_error_on_a_kernel_that_does_not_tell_the_page_size() {
    alone!({
        kernel_without_auxv();
        let taken = take_every_descriptor();
        let error = watchdog_pipe::channel().expect_err("no descriptor is free");
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
        drop(taken);
        drop(watchdog_pipe::channel().expect("channel"));
    });
}

#[test]
fn adoption_without_a_free_descriptor_is_an_error_on_a_kernel_that_does_not_tell_the_page_size() {
    alone!({
        let (keepalive, setup) = watchdog_pipe::channel().expect("channel");
        let (variable, fds) = (setup.env().1, setup.fds());
        for (fd, number) in fds {
            // SAFETY: far above what is open here.
            let copied = unsafe { libc::dup2(fd.as_raw_fd(), number + 40) };
            assert_eq!(copied, number + 40);
        }
        // No writer is left in the process that adopts. The word is still held: that is another
        // matter.
        std::mem::forget(setup);
        let write = keepalive.hand_over().expect("hand over");
        drop(write);
        let variable = variable.replace("fd=3,", "fd=43,");
        let variable = variable.replace("sentinel=4:", "sentinel=44:");
        // SAFETY: no other thread of this process reads the environment: the sentinel sleeps.
        unsafe { env::set_var(ENV_VAR, variable) };
        kernel_without_auxv();
        let taken = take_every_descriptor();
        // SAFETY: nobody owns the numbers, see above.
        let adopt = || unsafe { Watchdog::from_env() };
        match adopt() {
            Err(AdoptError::Io(error)) => assert_eq!(error.raw_os_error(), Some(libc::EMFILE)),
            other => panic!("{other:?}"),
        }
        drop(taken);
        assert!(adopt().expect("adopt").is_some());
    });
}
