//! Standard streams of a process that marks its own close-on-exec, as node does.

use std::io::pipe;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::process::Command;

use fd_preserve::PreserveFds;
use workspace_tests::fd_table::{FileId, Witness, file, id, stdio};
use workspace_tests::{Guard, alone};

const FD_LIST: &str = env!("CARGO_BIN_EXE_fd_list");

/// Puts a file on `number`, close-on-exec.
fn mark(number: RawFd) -> FileId {
    let file: OwnedFd = file();
    // SAFETY: the standard streams belong to the process, which has one thread.
    let done = unsafe { libc::dup3(file.as_raw_fd(), number, libc::O_CLOEXEC) };
    assert_eq!(done, number, "{}", std::io::Error::last_os_error());
    id(&file)
}

fn is_marked(number: RawFd) -> bool {
    // SAFETY: takes no pointer and changes nothing.
    unsafe { libc::fcntl(number, libc::F_GETFD) == libc::FD_CLOEXEC }
}

#[test]
fn stream_that_is_close_on_exec_here_reaches_a_child_with_a_plan() {
    alone!({
        for number in 0..=2 {
            let file = mark(number);
            let mut witness = Witness::of(FD_LIST);
            PreserveFds::new()
                .apply(&mut witness.command)
                .expect("apply");
            let table = witness.run().expect("spawn");
            assert_eq!(table.get(&number), Some(&file), "on {number}");
            assert_eq!(table, stdio());
            assert!(is_marked(number), "here it stays as it was");
        }
    });
}

/// The error socket is on the number of a stream that was closed after `apply`. It goes at the
/// exec, and not at the end of the child, which lives as long as this process wants.
#[test]
fn error_socket_on_a_streams_number_is_not_passed_on() {
    alone!({
        let (reader, writer) = pipe().expect("pipe");
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "read line <&9"]);
        let mut fds = PreserveFds::new();
        fds.map_fd(reader, 9).expect("map_fd");
        fds.apply(&mut command).expect("apply");
        for number in [0, 1] {
            // SAFETY: the standard streams belong to the process, which has one thread.
            assert_eq!(unsafe { libc::close(number) }, 0);
        }
        let mut child = Guard::spawn(&mut command);
        drop(writer);
        child.wait_deadline();
    });
}
