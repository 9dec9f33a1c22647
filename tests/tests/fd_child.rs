//! The other side: programs that take what they were given.

use std::io::{Read, Write, pipe};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use fd_preserve::PreserveFds;
use workspace_tests::orders::Order;
use workspace_tests::{Guard, time_limit};

#[test]
fn inherited_descriptors_are_claimed_by_number_and_go_no_further() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fd_heir"));
    command
        .arg(
            Order::Claim {
                numbers: vec![7, 8, 9, -3],
            }
            .argument(),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut fds = PreserveFds::new();
    for (number, text) in [(7, "seven"), (8, "eight")] {
        let (reader, mut writer) = pipe().expect("pipe");
        writer.write_all(text.as_bytes()).expect("write");
        fds.map_fd(reader, number).expect("map_fd");
    }
    fds.apply(&mut command).expect("apply");
    let mut child = Guard::spawn(&mut command);
    assert!(child.wait_deadline().success());
    let mut said = String::new();
    child
        .stdout
        .take()
        .expect("a pipe")
        .read_to_string(&mut said)
        .expect("read");
    assert_eq!(
        said,
        "7: seven\n8: eight\ndescriptor 9 is not open\ndescriptor -3 is negative\n"
    );
}

/// cases: systemd-style listener, LISTEN_FDS program: its own library accepts it. LISTEN_PID must
/// be the number of the process that runs the program, which only the process itself knows in time.
#[test]
fn an_independent_library_accepts_listeners_that_were_given() {
    let listeners: Vec<TcpListener> = (0..2)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("bind"))
        .collect();
    let addresses: Vec<_> = listeners
        .iter()
        .map(|listener| listener.local_addr().expect("address"))
        .collect();
    let mut command = Command::new("/bin/sh");
    command.args([
        "-c",
        "LISTEN_PID=$$ exec \"$0\"",
        env!("CARGO_BIN_EXE_fd_listener"),
    ]);
    command
        .env("LISTEN_FDS", listeners.len().to_string())
        .stdin(Stdio::null());
    let mut fds = PreserveFds::new();
    for (number, listener) in (3..).zip(listeners) {
        assert_eq!(fds.next_fd(listener).expect("next_fd"), number);
    }
    fds.apply(&mut command).expect("apply");
    let mut child = Guard::spawn(&mut command);
    drop(command);
    for (number, address) in (3..).zip(addresses) {
        let mut stream = TcpStream::connect(address).expect("connect");
        stream
            .set_read_timeout(Some(time_limit()))
            .expect("SO_RCVTIMEO");
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("read");
        assert_eq!(said, format!("hello from {number}"));
    }
    assert!(child.wait_deadline().success());
}

/// Rust's own runtime ignores SIGPIPE in this very process: docs/pitfalls.md#inherited-signals. The
/// mask is the spawner's, not the plan's.
#[test]
fn a_plan_keeps_sigpipe_at_its_default_in_the_child() {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "grep SigIgn: /proc/$$/status"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    PreserveFds::new().apply(&mut command).expect("apply");
    let mut child = Guard::spawn(&mut command);
    assert!(child.wait_deadline().success());
    let mut said = String::new();
    child
        .stdout
        .take()
        .expect("a pipe")
        .read_to_string(&mut said)
        .expect("read");
    let ignored = said.split_whitespace().nth(1).expect("a mask");
    let ignored = u64::from_str_radix(ignored, 16).expect("a hexadecimal mask");
    assert_eq!(ignored & (1 << (libc::SIGPIPE - 1)), 0, "{said}");
}
