//! Who holds COMMAND's descriptors open: COMMAND alone.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

use fd_preserve::PreserveFds;
use workspace_tests::{DEADLINE, Guard};

const SHIM: &str = env!("CARGO_BIN_EXE_shim_under_test");

fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("pipe")
}

/// COMMAND says that it is ready by closing number 9, and lives on.
fn end_of_a_pipe_that_command_closes_is_seen_at_once(options: &[&str]) {
    let (read, write) = pipe();
    let mut command = Command::new(SHIM);
    command
        .args(options)
        .args(["--", "sh", "-c", "exec 9>&-; exec sleep 1000"]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut fds = PreserveFds::new();
    fds.map_fd(write, 9).expect("a plan");
    let applied = fds.apply(&mut command).expect("apply");
    let _shim = Guard::spawn(&mut command);
    drop((command, applied));
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let mut said = Vec::new();
        let end = File::from(read).read_to_end(&mut said).map(|_| said);
        let _ = tell.send(end.expect("read"));
    });
    let said = told.recv_timeout(DEADLINE).expect("the end of the pipe");
    assert!(said.is_empty());
}

#[test]
fn pipe_that_command_closes_has_no_other_writer() {
    end_of_a_pipe_that_command_closes_is_seen_at_once(&["--contain=subreaper"]);
}
