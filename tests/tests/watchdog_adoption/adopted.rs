//! What is adopted, and how.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::{FdFlags, fcntl_getfd};
use rustix::pipe::{PipeFlags, pipe_with};
use watchdog_pipe::{AdoptError, StopPolicy, Watchdog};
use workspace_tests::alone;

use workspace_tests::inherited::{
    Inherited, borrow, from_env, refused, reopened, set_variable, then_a_good_one_is_adopted, value,
};

#[test]
fn process_without_the_variable_is_not_supervised() {
    alone!({
        assert!(from_env().expect("no error").is_none());
        let good = Inherited::on(50);
        then_a_good_one_is_adopted(good.read);
    });
}

#[test]
fn writer_of_another_pipe_is_no_hindrance() {
    alone!({
        let good = Inherited::on(50);
        let _other = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
        then_a_good_one_is_adopted(good.read);
    });
}

// docs/pitfalls.md#an-agreed-number
#[test]
fn second_adoption_is_refused_even_when_the_first_watchdog_is_gone() {
    alone!({
        let good = Inherited::on(50);
        then_a_good_one_is_adopted(good.read);
        // Without the variable, too: the first one who asked has what this process was given.
        let error = from_env().expect_err("adopted before");
        assert!(matches!(error, AdoptError::AlreadyClaimed), "{error:?}");
        // The watchdog is gone, and with it the number: it may be anybody's now.
        let second = Inherited::on(50);
        let error = refused(value(second.read));
        assert!(matches!(error, AdoptError::AlreadyClaimed), "{error:?}");
    });
}

#[test]
fn descriptor_of_a_protocol_of_ones_own_is_checked_too() {
    alone!({
        let good = Inherited::on(50);
        let from = |fd: OwnedFd| Watchdog::from_fd(fd);
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
        let number = write.as_raw_fd();
        assert!(matches!(from(write), Err(AdoptError::WrongEnd { fd }) if fd == number));
        let null = OwnedFd::from(File::open("/dev/null").expect("a device"));
        let number = null.as_raw_fd();
        assert!(matches!(from(null), Err(AdoptError::NotAPipe { fd }) if fd == number));
        let writer = reopened(read.as_raw_fd(), OFlags::WRONLY);
        let number = writer.as_raw_fd();
        let error = from(read).expect_err("this process holds a writer");
        assert!(matches!(error, AdoptError::HoldsWriter { writer, .. } if writer == number));
        // What was refused is closed: the writer has no reader left.
        let polled = &mut [rustix::event::PollFd::new(
            &writer,
            rustix::event::PollFlags::OUT,
        )];
        rustix::event::poll(polled, None).expect("poll");
        let hung_up = polled[0].revents().contains(rustix::event::PollFlags::ERR);
        assert!(hung_up, "the read end is still open");
        // A good one is made close-on-exec, and any number of them may be adopted.
        for _ in 0..2 {
            let fd = borrow(good.read).try_clone_to_owned().expect("dup");
            rustix::io::fcntl_setfd(&fd, FdFlags::empty()).expect("F_SETFD");
            let number = fd.as_raw_fd();
            let watchdog = from(fd).expect("adopt");
            assert!(
                fcntl_getfd(borrow(number))
                    .expect("F_GETFD")
                    .contains(FdFlags::CLOEXEC)
            );
            assert_eq!(watchdog.stop_policy(), None);
        }
    });
}

/// 0 is a number as any other.
#[test]
fn standard_number_can_be_adopted() {
    alone!({
        let good = Inherited::on(50);
        // SAFETY: nothing reads standard input in this case.
        assert_eq!(unsafe { libc::dup2(good.read, 0) }, 0);
        then_a_good_one_is_adopted(0);
    });
}

#[test]
fn policy_and_keys_of_a_newer_version_are_read() {
    alone!({
        let good = Inherited::on(50);
        set_variable(format!("{},later=1,stop=10:1500", value(good.read)));
        let watchdog = from_env().expect("adopt").expect("supervised");
        let policy = StopPolicy::new()
            .signal(watchdog_pipe::Signal::USR1)
            .grace(std::time::Duration::from_millis(1500));
        assert_eq!(watchdog.stop_policy(), Some(policy));
    });
}
