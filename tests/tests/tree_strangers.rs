//! Whoever takes over the tree signals nobody but the tree.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use pidfd_watcher::{Process, Signal};
use rustix::process::Pid;
use workspace_tests::play::can;
use workspace_tests::{Guard, alone_in_pid_namespace, proc_fs, until};

const SHIM: &str = env!("CARGO_BIN_EXE_shim_under_test");

/// COMMAND has ended and was reaped; what it left behind is waited for. Then its number goes to a
/// stranger.
#[test]
fn stranger_that_has_got_commands_number_is_not_stopped_by_who_takes_over() {
    alone_in_pid_namespace!({
        let script = "echo $$ $PPID; setsid sleep 1000 >/dev/null & exit 7";
        let words = [
            "--on-exit=wait",
            "--stop-timeout=1h",
            "--",
            "sh",
            "-c",
            script,
        ];
        let mut shim = Command::new(SHIM);
        let mut shim = Guard::spawn(shim.args(words).stdin(Stdio::null()).stdout(Stdio::piped()));
        let mut said = String::new();
        let stdout = shim.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut said).expect("a line");
        let numbers: Vec<i32> = said
            .split_whitespace()
            .map(|word| word.parse().expect("a pid"))
            .collect();
        let [command, inner] = numbers[..] else {
            panic!("{said}")
        };
        until("COMMAND was reaped", || {
            proc_fs::stat(command).is_none().then_some(())
        });
        let stranger = until("its number is given again", || {
            fs::write("/proc/sys/kernel/ns_last_pid", (command - 1).to_string()).expect("as root");
            let stranger = Guard::spawn(Command::new("sleep").arg("1000"));
            (stranger.id() == command.unsigned_abs()).then_some(stranger)
        });
        let mut stranger = stranger;
        let inner = Pid::from_raw(inner).expect("a pid");
        let inner = Process::open(inner).expect("INNER lives");
        inner.send_signal(Signal::KILL).expect("send");
        assert_eq!(shim.wait_deadline().code(), Some(7));
        assert!(
            stranger.try_wait().expect("own child").is_none(),
            "it was signalled"
        );
    });
}

/// In its PID namespace COMMAND has a number that is somebody else's out here.
#[test]
fn stranger_that_has_commands_number_outside_of_its_namespace_is_not_stopped() {
    alone_in_pid_namespace!({
        let mut stranger = Guard::spawn(Command::new("sleep").arg("1000"));
        let words = ["--contain=pidns", "--status-fd=1", "--", "sleep", "1000"];
        let mut shim = Command::new(SHIM);
        let mut shim = Guard::spawn(shim.args(words).stdin(Stdio::null()).stdout(Stdio::piped()));
        let mut said = String::new();
        let stdout = shim.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut said).expect("a line");
        assert_eq!(
            said,
            format!("{{\"event\":\"started\",\"pid\":{}}}\n", stranger.id())
        );
        let outer = i32::try_from(shim.id()).expect("a pid");
        let inner = proc_fs::children_of(outer)[0].pid;
        let inner = Process::open(Pid::from_raw(inner).expect("a pid")).expect("INNER lives");
        inner.send_signal(Signal::KILL).expect("send");
        shim.wait_deadline();
        assert!(
            stranger.try_wait().expect("own child").is_none(),
            "it was signalled"
        );
    });
}

/// Both are below the same cgroup: that of this test.
#[test]
fn shims_of_one_number_in_two_pid_namespaces_have_a_cgroup_each() {
    if !can(SHIM, "cgroup") {
        return;
    }
    alone_in_pid_namespace!({
        // The shell is pid 1 there, and the shim is pid 2. It ends when its standard input does.
        let script = "\"$0\" --contain=cgroup --status-fd=1 -- cat; echo status $?";
        let start = || {
            let mut shim = Command::new("unshare");
            shim.args(["--pid", "--fork", "--mount-proc", "--kill-child"])
                .args(["sh", "-c", script, SHIM])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
            let mut shim = Guard::spawn(&mut shim);
            let mut said = BufReader::new(shim.stdout.take().expect("piped")).lines();
            let first = said.next().expect("a line").expect("read");
            assert!(first.contains("started"), "{first}");
            (shim, said)
        };
        for (mut shim, said) in [start(), start()] {
            drop(shim.stdin.take());
            let last = said.last().expect("a line").expect("read");
            assert_eq!(last, "status 0");
        }
    });
}
