//! The shim where its error has no reader, and where a filter refuses what it stands on.

use std::fs::File;
use std::io::read_to_string;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use workspace_tests::{alone_in_pid_namespace, seccomp};

const SHIM: &str = env!("CARGO_BIN_EXE_shim_under_test");

/// A pipe that nobody reads.
fn nobody() -> OwnedFd {
    let (_read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("pipe");
    write
}

#[test]
fn exit_code_is_the_same_where_nobody_reads_the_error() {
    let full = File::options().write(true).open("/dev/full");
    for stderr in [nobody(), full.expect("/dev/full").into()] {
        for (words, code) in [
            (&["--", "/nowhere"][..], 127),
            (&["--", "/dev/null"][..], 126),
            (&["--watch=env", "--", "true"][..], 125),
        ] {
            let status = Command::new(SHIM)
                .args(words)
                .stdin(Stdio::null())
                .stderr(stderr.try_clone().expect("a duplicate"))
                .status();
            let status = status.expect("run the shim");
            assert_eq!(status.code(), Some(code), "{words:?}: {status}");
        }
    }
}

#[test]
fn shim_that_cannot_wait_starts_nothing() {
    alone_in_pid_namespace!({
        seccomp::refuse(&[
            (libc::SYS_poll, libc::EPERM),
            (libc::SYS_ppoll, libc::EPERM),
        ]);
        let mut command = Command::new(SHIM);
        command.args(["--", "echo", "started"]).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // Not by `output`, which polls.
        let mut shim = command.spawn().expect("run the shim");
        let error = read_to_string(shim.stderr.take().expect("a pipe")).expect("read");
        let output = read_to_string(shim.stdout.take().expect("a pipe")).expect("read");
        let status = shim.wait().expect("wait");
        assert_eq!(status.code(), Some(125), "{status}: {error}");
        assert_eq!(output, "");
        assert!(error.contains("poll(2)"), "{error}");
    });
}
