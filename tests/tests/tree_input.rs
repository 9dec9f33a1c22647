//! A lifetime that hangs on standard input, which is COMMAND's: all of it reaches COMMAND, its end
//! comes before the stop signal, and COMMAND may end by itself.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use workspace_tests::trees::Tree;
use workspace_tests::{Guard, until};

const SHIM: &str = env!("CARGO_BIN_EXE_shim_under_test");

/// More than a pipe and a socket hold.
const MUCH: usize = 4 << 20;

/// COMMAND is a script; its standard input is a pipe.
struct Script {
    shim: Guard,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Script {
    fn start(options: &[&str], script: &str) -> Script {
        let mut command = Command::new(SHIM);
        command
            .args(options)
            .args(["--", "bash", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut shim = Guard::spawn(&mut command);
        Script {
            input: shim.stdin.take(),
            output: BufReader::new(shim.stdout.take().expect("a pipe")),
            shim,
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }
}

#[test]
fn everything_that_was_written_reaches_command_whenever_the_input_ends() {
    let mut counts = Vec::new();
    for _ in 0..20 {
        let mut wc = Script::start(&["--watch=stdin"], "wc -c");
        let mut input = wc.input.take().expect("a pipe");
        input.write_all(&vec![b'x'; MUCH]).expect("write");
        // At once: what is in the pipe still has not been read.
        drop(input);
        counts.push(wc.line());
        let status = wc.shim.wait_deadline();
        assert!(status.success(), "nobody has stopped it: {status}");
    }
    assert!(
        counts.iter().all(|count| *count == MUCH.to_string()),
        "{counts:?}"
    );
}

#[test]
fn input_that_had_ended_before_the_shim_was_started_reaches_command() {
    let (pipe, mut writer) = std::io::pipe().expect("a pipe");
    let (socket, mut ours) = UnixStream::pair().expect("a pair");
    writer.write_all(b"a line\n").expect("write");
    ours.write_all(b"a line\n").expect("write");
    drop((writer, ours));
    for stdin in [Stdio::from(pipe), Stdio::from(OwnedFd::from(socket))] {
        let output = Command::new(SHIM)
            .args(["--watch=stdin", "--", "cat"])
            .stdin(stdin)
            .output()
            .expect("run the shim");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(output.stdout, b"a line\n");
    }
}

#[test]
fn runtime_that_is_gone_already_and_has_written_nothing_starts_nothing() {
    let (pipe, writer) = std::io::pipe().expect("a pipe");
    drop(writer);
    let output = Command::new(SHIM)
        .args(["--watch=stdin", "--", "echo", "started"])
        .stdin(pipe)
        .output()
        .expect("run the shim");
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("gone already"), "{said}");
}

/// It takes its time after the end of its input, with half of an hour at hand.
#[test]
fn command_that_ends_at_the_end_of_its_input_gets_no_signal() {
    for option in ["--watch=stdin", "--watch=fd:0"] {
        let tree = Tree::new();
        let script = format!(
            "trap 'echo told' TERM; echo ready; cat; echo end; until [ -e {}/go ]; do sleep 0.01; \
             done; echo done; exit 7",
            tree.folder().display()
        );
        let mut server = Script::start(&[option, "--stop-timeout=1h"], &script);
        assert_eq!(server.line(), "ready");
        drop(server.input.take());
        assert_eq!(server.line(), "end");
        std::fs::write(tree.folder().join("go"), "").expect("write");
        assert_eq!(server.line(), "done");
        assert_eq!(server.line(), "");
        assert_eq!(server.shim.wait_deadline().code(), Some(7));
    }
}

#[test]
fn command_that_goes_on_after_the_end_of_its_input_is_stopped_in_good_order() {
    let script =
        "trap 'echo told; exit 9' TERM; echo ready; cat; echo end; while :; do sleep 0.01; done";
    let mut server = Script::start(&["--watch=stdin", "--stop-timeout=4s"], script);
    assert_eq!(server.line(), "ready");
    let began = Instant::now();
    drop(server.input.take());
    assert_eq!(server.line(), "end");
    assert_eq!(server.line(), "told");
    assert!(
        began.elapsed() >= Duration::from_secs(2),
        "half of the grace"
    );
    assert_eq!(server.shim.wait_deadline().code(), Some(9));
}

#[test]
fn command_that_hears_neither_the_end_nor_the_signal_is_killed_when_the_grace_is_over() {
    let script = "trap '' TERM; echo ready; while :; do sleep 0.01; done";
    let mut server = Script::start(&["--watch=stdin", "--stop-timeout=1s"], script);
    assert_eq!(server.line(), "ready");
    let began = Instant::now();
    drop(server.input.take());
    let status = server.shim.wait_deadline();
    assert_eq!(status.signal(), Some(libc::SIGKILL), "{status}");
    assert!(began.elapsed() >= Duration::from_secs(1), "the grace");
}

/// COMMAND ends by itself, and the runtime is gone: what may be left alone otherwise is stopped
/// then.
#[test]
fn those_whom_command_leaves_at_the_end_of_its_input_are_stopped_whatever_on_exit_says() {
    for on_exit in ["stop", "wait", "leave"] {
        let tree = Tree::new();
        let option = format!("--on-exit={on_exit}");
        let script = format!(
            "setsid sh -c 'echo ready; while :; do sleep 0.01; done' {} & cat",
            tree.folder().display()
        );
        let options = ["--watch=stdin", &option, "--stop-timeout=1h"];
        let mut server = Script::start(&options, &script);
        assert_eq!(server.line(), "ready");
        drop(server.input.take());
        let status = server.shim.wait_deadline();
        assert!(status.success(), "{on_exit}: {status}");
        assert!(tree.living().is_empty(), "{on_exit}");
    }
}

#[test]
fn report_of_a_stop_after_the_end_of_the_input_names_what_is_left_of_the_grace() {
    let script = "exec 3>&1 >&2; read line; while :; do sleep 0.01; done";
    let options = ["--watch=stdin", "--status-fd=1", "--stop-timeout=2s"];
    let mut server = Script::start(&options, script);
    assert!(server.line().contains("started"));
    drop(server.input.take());
    let stopping: serde_json::Value = serde_json::from_str(&server.line()).expect("JSON");
    assert_eq!(stopping["cause"], "runtime-died");
    assert!(stopping["grace_ms"].as_u64() <= Some(1000), "{stopping}");
    server.shim.wait_deadline();
}

#[test]
fn standard_input_by_its_number_stays_commands_too() {
    let mut server = Script::start(&["--watch=fd:0"], "cat");
    let mut input = server.input.take().expect("a pipe");
    input.write_all(b"a line\n").expect("write");
    assert_eq!(server.line(), "a line");
    drop(input);
    assert!(server.shim.wait_deadline().success());
}

/// Whoever takes over has no part in the pipe, and stops the tree as ever.
#[test]
fn tree_whose_input_has_ended_is_stopped_by_who_takes_over_from_inner() {
    let script =
        "trap 'echo told; exit 9' TERM; echo ready; cat; echo $PPID; while :; do sleep 0.01; done";
    let mut server = Script::start(&["--watch=stdin", "--stop-timeout=1h"], script);
    assert_eq!(server.line(), "ready");
    drop(server.input.take());
    let inner: i32 = server.line().parse().expect("a pid");
    let inner = rustix::process::Pid::from_raw(inner).expect("a pid");
    let inner = pidfd_watcher::Process::open(inner).expect("INNER lives");
    inner
        .send_signal(pidfd_watcher::Signal::KILL)
        .expect("send");
    assert_eq!(server.line(), "told");
    assert_eq!(server.shim.wait_deadline().code(), Some(9));
}

/// The other way round: who has read the output to its end knows that COMMAND has ended, and
/// nothing of the shim holds it.
#[test]
fn end_of_the_output_comes_when_command_has_ended() {
    let mut server = Script::start(&["--watch=stdin"], "echo here");
    let mut said = String::new();
    server.output.read_to_string(&mut said).expect("read");
    assert_eq!(said, "here\n");
    until("the shim ends by itself", || {
        server.shim.try_wait().expect("own child")
    });
}
