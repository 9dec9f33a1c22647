//! A number on which something else lies than the read end of the pipe.

use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use watchdog_pipe::{AdoptError, Verdict};
use workspace_tests::alone;

use workspace_tests::inherited::{
    Inherited, from_env, not_supervised, place, refused, reopened, set_variable,
    then_a_good_one_is_adopted, value,
};

#[test]
fn variable_that_names_a_closed_number_is_not_for_this_process() {
    alone!({
        let good = Inherited::on(50);
        not_supervised(value(50).replace("fd=50", "fd=51"));
        not_supervised(value(50).replace("fd=50", "fd=2147483647"));
        then_a_good_one_is_adopted(good.read);
    });
}

#[test]
fn write_end_is_refused() {
    alone!({
        let good = Inherited::on(50);
        let (_read, write) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
        place(write, 60);
        let error = refused(value(60));
        assert!(
            matches!(error, AdoptError::WrongEnd { fd: 60 }),
            "{error:?}"
        );
        then_a_good_one_is_adopted(good.read);
    });
}

#[test]
fn regular_file_socket_and_device_are_refused() {
    alone!({
        let good = Inherited::on(50);
        let (socket, _other) = UnixStream::pair().expect("socketpair");
        let file = File::open("/proc/self/exe").expect("a regular file");
        let null = File::open("/dev/null").expect("a device");
        for other in [OwnedFd::from(socket), file.into(), null.into()] {
            place(other, 60);
            // The variable was written for this very file.
            let error = refused(value(60));
            assert!(
                matches!(error, AdoptError::NotAPipe { fd: 60 }),
                "{error:?}"
            );
            // And for another one.
            not_supervised(value(50).replace("fd=50", "fd=60"));
        }
        then_a_good_one_is_adopted(good.read);
    });
}

#[test]
fn fifo_that_was_opened_for_both_is_refused() {
    alone!({
        let good = Inherited::on(50);
        let (read, _write) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
        place(reopened(read.as_raw_fd(), OFlags::RDWR), 60);
        let error = refused(value(60));
        assert!(
            matches!(error, AdoptError::WrongEnd { fd: 60 }),
            "{error:?}"
        );
        then_a_good_one_is_adopted(good.read);
    });
}

/// O_PATH: the access mode of a read end, and nothing can be read.
#[test]
fn descriptor_that_only_names_the_pipe_is_refused() {
    alone!({
        let good = Inherited::on(50);
        place(reopened(50, OFlags::PATH), 60);
        let error = refused(value(60));
        assert!(
            matches!(error, AdoptError::WrongEnd { fd: 60 }),
            "{error:?}"
        );
        // It is no writer either.
        then_a_good_one_is_adopted(good.read);
    });
}

#[test]
fn variable_that_names_another_pipe_is_not_for_this_process() {
    alone!({
        let good = Inherited::on(50);
        let (read, _write) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
        place(read, 60);
        not_supervised(value(50).replace("fd=50", "fd=60"));
        // The device counts as much as the inode.
        let (device, inode) = value(50)
            .split_once(":")
            .map(|(_, inode)| (77, inode.to_owned()))
            .expect("two");
        not_supervised(format!("fd=50,pipe={device}:{inode}"));
        then_a_good_one_is_adopted(good.read);
    });
}

// It would wait for itself: docs/pitfalls.md#a-sibling-that-never-executes.
#[test]
fn process_that_holds_a_writer_itself_is_refused() {
    alone!({
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
        place(read, 50);
        let writer = place(write, 60);
        let error = refused(value(50));
        let AdoptError::HoldsWriter {
            fd: 50,
            writer: found,
        } = error
        else {
            panic!("{error:?}")
        };
        assert_eq!(found, writer);
        // SAFETY: the case's own number; whatever opened it holds no owner of it.
        drop(unsafe { OwnedFd::from_raw_fd(writer) });
        // Even one that both reads and writes is a writer.
        let both = reopened(50, OFlags::RDWR);
        let error = refused(value(50));
        let AdoptError::HoldsWriter {
            fd: 50,
            writer: found,
        } = error
        else {
            panic!("{error:?}")
        };
        assert_eq!(found, both.as_raw_fd());
        drop(both);
        // With nobody left who could write, it is adopted, and says so.
        set_variable(value(50));
        let mut watchdog = from_env().expect("adopt").expect("supervised");
        assert_eq!(watchdog.wait().expect("wait"), Verdict::ParentExited);
    });
}

// To look takes longer than all else that an adoption does.
#[test]
fn parent_that_promises_that_there_is_no_writer_is_believed() {
    alone!({
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
        place(read, 50);
        place(write, 60);
        assert!(matches!(refused(value(50)), AdoptError::HoldsWriter { .. }));
        set_variable(value(50) + ",clean=1");
        let mut watchdog = from_env().expect("adopt").expect("supervised");
        assert_eq!(watchdog.try_wait().expect("look"), None);
    });
}
