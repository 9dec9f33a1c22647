//! COMMAND as the shim runs it: its exit, its signals, its descriptors, and what the shim says when
//! it cannot.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Output, Stdio};

use pidfd_watcher::{Pid, Process, Signal};
use workspace_tests::orders::Order;
use workspace_tests::trees::Tree;
use workspace_tests::{Guard, alone, alone_in_pid_namespace, proc_fs, time_limit, until};

const SHIM: &str = env!("CARGO_BIN_EXE_shim_under_test");
const HOSTILE: &str = env!("CARGO_BIN_EXE_hostile_tree");

/// The shim with these words, standard input at /dev/null.
fn shim(words: &[&str]) -> Command {
    let mut command = Command::new(SHIM);
    command.args(words).stdin(Stdio::null());
    command
}

/// Runs to its end.
fn output(words: &[&str]) -> Output {
    shim(words).output().expect("run the shim")
}

fn shell(options: &[&str], script: &str) -> Output {
    let words = [options, &["--", "sh", "-c", script]].concat();
    output(&words)
}

/// A shim that a test signals.
fn started(mut command: Command) -> (Guard, BufReader<std::process::ChildStdout>) {
    let mut child = Guard::spawn(command.stdout(Stdio::piped()));
    let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    (child, stdout)
}

fn line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).expect("a line");
    line.trim_end().to_owned()
}

fn send(child: &mut Guard, signal: Signal) {
    let process = Process::from_child(child).expect("own child");
    process.send_signal(signal).expect("send");
}

// How it ends.

#[test]
fn every_exit_code_of_command_is_the_shims() {
    std::thread::scope(|scope| {
        for codes in (0..=255).collect::<Vec<i32>>().chunks(64) {
            let codes = codes.to_owned();
            scope.spawn(move || {
                for code in codes {
                    let status = shell(&[], &format!("exit {code}")).status;
                    assert_eq!(status.code(), Some(code));
                }
            });
        }
    });
}

#[test]
fn every_signal_that_ends_command_ends_the_shim() {
    for signal in (1..=31).filter(|signal| {
        // Those that end nobody, and the one that stops.
        ![17, 18, 19, 20, 21, 22, 23, 28].contains(signal)
    }) {
        let script = format!("ulimit -c 0; kill -{signal} $$");
        let mirror = shell(&[], &script).status;
        assert_eq!(mirror.signal(), Some(signal), "{mirror}");
        assert!(!mirror.core_dumped());
        let shell = shell(&["--exit=shell"], &script).status;
        assert_eq!(shell.code(), Some(128 + signal), "{shell}");
    }
}

// Bad input: one line that names the thing, an exit code of the shim's own, nothing started.

#[track_caller]
fn refused(output: &Output, code: i32, named: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.starts_with("watchdog-shim: "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(named), "{said}");
    assert!(output.stdout.is_empty());
}

#[test]
fn unknown_option_is_refused() {
    refused(&output(&["--bogus", "--", "echo", "x"]), 125, "--bogus");
}

#[test]
fn missing_command_is_refused() {
    refused(&output(&["--contain=auto"]), 125, "COMMAND");
}

#[test]
fn command_that_is_not_found_is_127() {
    refused(&output(&["--", "no-such-program"]), 127, "no-such-program");
    refused(
        &output(&["--", "/no/such/program"]),
        127,
        "/no/such/program",
    );
}

#[test]
fn command_that_cannot_be_executed_is_126() {
    refused(&output(&["--", "/etc/passwd"]), 126, "/etc/passwd");
    refused(&output(&["--", "/"]), 126, "/");
}

#[test]
fn file_that_is_no_program_is_126() {
    let tree = Tree::new();
    let file = tree.folder().join("data");
    fs::write(&file, "\x7fELF and then nothing").expect("write");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&file, mode).expect("chmod");
    let path = file.to_str().expect("a plain path");
    refused(&output(&["--", path]), 126, path);
}

#[test]
fn descriptor_that_is_not_open_is_refused() {
    refused(&output(&["--watch=fd:77", "--", "echo", "x"]), 125, "fd:77");
    refused(
        &output(&["--status-fd=77", "--", "echo", "x"]),
        125,
        "--status-fd=77",
    );
}

#[test]
fn standard_input_that_has_no_other_end_is_refused() {
    refused(
        &output(&["--watch=stdin", "--", "echo", "x"]),
        125,
        "--watch=stdin",
    );
}

#[test]
fn environment_without_a_watchdog_is_refused_if_it_is_asked_for() {
    refused(
        &output(&["--watch=env", "--", "echo", "x"]),
        125,
        "--watch=env",
    );
}

#[test]
fn requirement_that_is_not_met_is_refused_with_the_way_out() {
    let said = output(&[
        "--contain=subreaper",
        "--require=certain",
        "--",
        "echo",
        "x",
    ]);
    refused(&said, 125, "--contain=pidns");
}

// What COMMAND is given.

#[test]
fn command_has_no_descriptor_and_no_variable_of_the_shims() {
    let script = "ls /proc/self/fd; env | sort";
    let plain = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::null())
        .output();
    let (plain, shim) = (plain.expect("run sh").stdout, shell(&[], script).stdout);
    assert_eq!(
        String::from_utf8_lossy(&plain),
        String::from_utf8_lossy(&shim)
    );
}

#[test]
fn inherited_descriptors_reach_command_on_their_numbers() {
    let (read, write) = std::io::pipe().expect("a pipe");
    let number = write.as_raw_fd();
    // SAFETY: the closure makes one system call that is async-signal-safe.
    let mut command = shim(&["--", "sh", "-c", &format!("echo here >&{number}")]);
    // SAFETY: as above; the number is open in the child, a copy of this process's.
    unsafe {
        command.pre_exec(move || {
            if libc::fcntl(number, libc::F_SETFD, 0) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    let mut child = Guard::spawn(&mut command);
    drop(write);
    // The end of the file comes: nobody of the shim holds a copy.
    let mut said = String::new();
    BufReader::new(read)
        .read_to_string(&mut said)
        .expect("read");
    assert_eq!(said, "here\n");
    assert!(child.wait_deadline().success());
}

#[test]
fn nobody_of_the_shim_holds_commands_standard_streams() {
    // COMMAND closes its own and lives on: who reads hears the end at once.
    let mut command = shim(&["--", "sh", "-c", "exec >&- 2>&- <&-; sleep 1000"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Guard::spawn(&mut command);
    let mut streams = (
        child.stdout.take().expect("pipe"),
        child.stderr.take().expect("pipe"),
    );
    let mut said = Vec::new();
    streams.0.read_to_end(&mut said).expect("the end");
    streams.1.read_to_end(&mut said).expect("the end");
    assert!(said.is_empty(), "{}", String::from_utf8_lossy(&said));
    assert!(child.try_wait().expect("own child").is_none());
    send(&mut child, Signal::TERM);
    assert_eq!(child.wait_deadline().signal(), Some(libc::SIGTERM));
}

#[test]
fn mask_and_ignored_signals_of_command_are_those_that_the_shim_was_born_with() {
    alone!({
        for (ignored, blocked) in [(false, false), (true, true)] {
            let mut command = shim(&["--", "grep", "-E", "^Sig(Blk|Ign):", "/proc/self/status"]);
            // SAFETY: the closure makes async-signal-safe calls alone.
            unsafe {
                command.pre_exec(move || {
                    let mut set = std::mem::zeroed();
                    libc::sigemptyset(&raw mut set);
                    if blocked {
                        libc::sigaddset(&raw mut set, libc::SIGUSR1);
                    }
                    libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
                    for signal in [libc::SIGHUP, libc::SIGTERM, libc::SIGCHLD] {
                        let action = if ignored {
                            libc::SIG_IGN
                        } else {
                            libc::SIG_DFL
                        };
                        libc::signal(signal, action);
                    }
                    Ok(())
                });
            }
            let said = command.output().expect("run the shim");
            let text = String::from_utf8_lossy(&said.stdout);
            let mask = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name));
                u64::from_str_radix(line.expect("the field").trim(), 16).expect("a mask")
            };
            let bit = |signal: i32| 1_u64 << (signal - 1);
            assert_eq!(
                mask("SigBlk:"),
                if blocked { bit(libc::SIGUSR1) } else { 0 }
            );
            for signal in [libc::SIGHUP, libc::SIGTERM, libc::SIGCHLD] {
                assert_eq!(
                    mask("SigIgn:") & bit(signal) != 0,
                    ignored,
                    "{signal}: {text}"
                );
            }
        }
    });
}

// Signals.

#[test]
fn signals_are_passed_on_to_command() {
    let script = "for s in HUP INT USR1 USR2 ALRM WINCH; do trap \"echo $s\" $s; done; \
                  echo ready; while :; do sleep 0.01; done";
    let (mut child, mut said) = started(shim(&["--", "bash", "-c", script]));
    assert_eq!(line(&mut said), "ready");
    for (signal, name) in [
        (Signal::HUP, "HUP"),
        (Signal::INT, "INT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::ALARM, "ALRM"),
        (Signal::WINCH, "WINCH"),
    ] {
        send(&mut child, signal);
        assert_eq!(line(&mut said), name);
    }
    send(&mut child, Signal::TERM);
    assert_eq!(child.wait_deadline().signal(), Some(libc::SIGTERM));
}

#[test]
fn term_stops_the_whole_tree_and_the_grace_ends_early_when_it_is_empty() {
    let tree = Tree::new();
    let order = Order::HostileTree {
        folder: tree.folder().to_owned(),
    };
    // With the longest grace: what ignores the stop signal is killed by the second one.
    let words = ["--stop-timeout=1h", "--", HOSTILE, &order.argument()];
    let mut child = Guard::spawn(&mut shim(&words));
    tree.ready();
    send(&mut child, Signal::TERM);
    until("the leader's handler has run", || {
        tree.has("term").then_some(())
    });
    // One of them ignores SIGTERM: the shim waits for it.
    assert!(child.try_wait().expect("own child").is_none());
    send(&mut child, Signal::TERM);
    assert_eq!(child.wait_deadline().code(), Some(42));
    assert!(tree.living().is_empty());
}

/// COMMAND ends at the stop signal at once, and leaves many children to the shim while that looks
/// for them.
#[test]
fn children_of_a_command_that_ends_at_once_get_the_stop_signal_too() {
    let script = "trap 'exit 5' TERM; for i in $(seq 40); do sleep 1000 & \
                  until read name < /proc/$!/comm && [ $name = sleep ]; do :; done; done; echo \
                  ready; wait";
    let words = ["--stop-timeout=1h", "--", "bash", "-c", script];
    let (mut child, mut said) = started(shim(&words));
    assert_eq!(line(&mut said), "ready");
    send(&mut child, Signal::TERM);
    // With the longest grace: nothing is killed, so all must have ended of the stop signal.
    assert_eq!(child.wait_deadline().code(), Some(5));
}

#[test]
fn command_alone_is_killed_after_the_grace_even_if_inner_was_killed() {
    let script = "trap '' TERM; echo $$ $PPID; while :; do sleep 0.01; done";
    let words = [
        "--contain=none",
        "--stop-timeout=100ms",
        "--",
        "bash",
        "-c",
        script,
    ];
    let (mut child, mut said) = started(shim(&words));
    let said = line(&mut said);
    let mut numbers = said.split(' ').map(|number| number.parse().expect("a pid"));
    let mut next = || Process::open(Pid::from_raw(numbers.next()?)?).ok();
    let (command, inner) = (next().expect("COMMAND"), next().expect("INNER"));
    inner.send_signal(Signal::KILL).expect("send");
    let ended = command.wait_timeout(time_limit()).expect("wait");
    assert!(ended.is_some(), "COMMAND lives on");
    assert_eq!(child.wait_deadline().signal(), Some(libc::SIGKILL));
}

/// Two of them mean "at once" to many a program. A real-time signal is queued, so that each can be
/// counted.
#[test]
fn command_gets_the_stop_signal_once_however_it_is_contained() {
    if !Command::new("python3")
        .arg("-V")
        .status()
        .is_ok_and(|status| status.success())
    {
        return eprintln!("skipped: no python3 here");
    }
    let script = "import signal as s; s.pthread_sigmask(s.SIG_BLOCK, {40}); print('ready', \
                  flush=True); \
                  s.sigwait({40}); print('more' if s.sigtimedwait({40}, 0.3) else 'once')";
    for contain in ["subreaper", "pidns", "cgroup", "none"] {
        let option = format!("--contain={contain}");
        let plan = output(&[&option, "--print-plan"]);
        if !plan.status.success() {
            let reason = String::from_utf8_lossy(&plan.stderr).trim().to_owned();
            eprintln!("skipped {contain}: {reason}");
            continue;
        }
        let words = [
            &option,
            "--stop-signal=40",
            "--stop-timeout=1h",
            "--",
            "python3",
            "-c",
            script,
        ];
        let (mut child, mut said) = started(shim(&words));
        assert_eq!(line(&mut said), "ready");
        send(&mut child, Signal::TERM);
        assert_eq!(line(&mut said), "once", "{contain}");
        assert_eq!(child.wait_deadline().code(), Some(0));
    }
}

#[test]
fn command_that_is_stopped_is_continued_to_be_told() {
    let script = "trap 'exit 9' TERM; echo $$; kill -STOP $$; while :; do sleep 0.01; done";
    let (mut child, mut said) = started(shim(&["--session=new", "--", "bash", "-c", script]));
    let pid: i32 = line(&mut said).parse().expect("a pid");
    until("COMMAND is stopped", || {
        (proc_fs::stat(pid)?.state == 'T').then_some(())
    });
    send(&mut child, Signal::TERM);
    assert_eq!(child.wait_deadline().code(), Some(9));
}

#[test]
fn stop_signal_and_receiver_are_chosen() {
    let script = "trap 'echo main' INT; bash -c \"trap 'echo other' INT; echo ready; while :; do \
                  sleep 0.01; done\" & \
                  while :; do sleep 0.01; done";
    let words = [
        "--stop-signal=INT",
        "--signal-to=main",
        "--stop-timeout=1s",
        "--",
        "bash",
        "-c",
        script,
    ];
    let (mut child, mut said) = started(shim(&words));
    assert_eq!(line(&mut said), "ready");
    send(&mut child, Signal::TERM);
    let mut rest = String::new();
    said.read_to_string(&mut rest).expect("read");
    assert_eq!(rest, "main\n");
    assert_eq!(child.wait_deadline().signal(), Some(libc::SIGKILL));
}

// When COMMAND has ended.

const LEAVES_ONE: &str = "setsid sleep 1000 >/dev/null 2>&1 & echo $!; exit 5";

fn left(said: &Output) -> Option<Process> {
    let text = String::from_utf8_lossy(&said.stdout);
    let pid = text.trim().parse().expect("a pid");
    let process = Process::open(rustix::process::Pid::from_raw(pid)?).ok()?;
    matches!(process.try_wait(), Ok(None)).then_some(process)
}

#[test]
fn what_command_leaves_behind_is_stopped() {
    let said = shell(&["--on-exit=stop"], LEAVES_ONE);
    assert_eq!(said.status.code(), Some(5));
    assert!(left(&said).is_none());
}

#[test]
fn what_command_leaves_behind_is_left_alone_if_that_is_asked_for() {
    let said = shell(&["--on-exit=leave"], LEAVES_ONE);
    assert_eq!(said.status.code(), Some(5));
    let process = left(&said).expect("it lives");
    process.send_signal(Signal::KILL).expect("kill");
}

#[test]
fn what_command_leaves_behind_is_waited_for_if_that_is_asked_for() {
    let script = "(read line; exit 0) <&3 & exit 6";
    let (read, mut write) = std::io::pipe().expect("a pipe");
    let mut command = shim(&["--on-exit=wait", "--", "sh", "-c", script]);
    give(&mut command, read.into(), 3);
    let mut child = Guard::spawn(&mut command);
    drop(command);
    until("COMMAND itself has ended", || {
        let pid = i32::try_from(child.id()).ok()?;
        let standby = proc_fs::children_of(pid).first()?.pid;
        let inner = proc_fs::children_of(standby).first()?.pid;
        let below = proc_fs::children_of(inner);
        (below.len() == 1 && below[0].state != 'Z').then_some(())
    });
    assert!(child.try_wait().expect("own child").is_none());
    write.write_all(b"\n").expect("write");
    assert_eq!(child.wait_deadline().code(), Some(6));
}

/// `source` becomes number `target` in the child.
fn give(command: &mut Command, source: OwnedFd, target: i32) {
    // SAFETY: the closure makes one system call that is async-signal-safe, on a descriptor that it
    // owns.
    unsafe {
        command.pre_exec(move || {
            let done = if source.as_raw_fd() == target {
                libc::fcntl(target, libc::F_SETFD, 0)
            } else {
                libc::dup2(source.as_raw_fd(), target)
            };
            if done < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

#[test]
fn orphans_are_reaped() {
    let script = "for i in 1 2 3 4 5 6 7 8; do (sh -c 'sh -c \"exit 3\" & exit 0' &) ; done; \
                  sleep 0.2; echo done; read line";
    let mut command = shim(&["--", "sh", "-c", script]);
    command.stdin(Stdio::piped());
    let (mut child, mut said) = started(command);
    assert_eq!(line(&mut said), "done");
    let outer = i32::try_from(child.id()).expect("a pid");
    until("no zombie is left", || {
        let standby = proc_fs::children_of(outer).first()?.pid;
        let inner = proc_fs::children_of(standby).first()?.pid;
        let zombies = proc_fs::children_of(inner);
        zombies.iter().all(|stat| stat.state != 'Z').then_some(())
    });
    drop(child.stdin.take());
    let _: ExitStatus = child.wait_deadline();
}

/// This process is pid 1: whom nobody else reaps comes here.
#[test]
fn shim_that_has_ended_leaves_no_zombie_of_its_own() {
    alone_in_pid_namespace!({
        for contain in ["subreaper", "pidns", "none"] {
            let contain = format!("--contain={contain}");
            for command in ["true", "/nowhere"] {
                let mut shim = Guard::spawn(&mut shim(&[&contain, "--", command]));
                shim.wait_deadline();
                let left = proc_fs::children_of(std::process::id().cast_signed());
                assert_eq!(left, [], "{contain} {command}");
            }
        }
    });
}

// What the lifetime hangs on.

#[test]
fn end_of_a_given_pipe_ends_the_tree() {
    let (read, write) = std::io::pipe().expect("a pipe");
    let mut command = shim(&["--watch=fd:9", "--", "sh", "-c", "echo ready; sleep 1000"]);
    give(&mut command, read.into(), 9);
    let (mut child, mut said) = started(command);
    assert_eq!(line(&mut said), "ready");
    // Data is no end.
    (&write).write_all(b"anything").expect("write");
    assert!(child.try_wait().expect("own child").is_none());
    drop(write);
    assert_eq!(child.wait_deadline().signal(), Some(libc::SIGTERM));
}

#[test]
fn pipe_that_the_lifetime_hangs_on_does_not_reach_command() {
    let (read, write) = std::io::pipe().expect("a pipe");
    let mut command = shim(&[
        "--watch=fd:9",
        "--",
        "sh",
        "-c",
        "test ! -e /proc/self/fd/9",
    ]);
    give(&mut command, read.into(), 9);
    let said = command.output().expect("run the shim");
    assert!(said.status.success(), "{said:?}");
    drop(write);
}

#[test]
fn pipe_whose_write_end_the_shim_itself_has_is_refused() {
    let (read, write) = std::io::pipe().expect("a pipe");
    let mut command = shim(&["--watch=fd:9", "--", "echo", "x"]);
    give(&mut command, read.into(), 9);
    give(&mut command, write.into(), 10);
    refused(
        &command.output().expect("run the shim"),
        125,
        "descriptor 10",
    );
}

#[test]
fn write_end_of_a_pipe_is_refused() {
    let (_read, write) = std::io::pipe().expect("a pipe");
    let mut command = shim(&["--watch=fd:9", "--", "echo", "x"]);
    give(&mut command, write.into(), 9);
    refused(
        &command.output().expect("run the shim"),
        125,
        "not the read end",
    );
}

#[test]
fn end_of_standard_input_ends_the_tree_and_takes_nothing_from_command() {
    let script = "read line; echo \"got $line\"; sleep 1000";
    let mut command = shim(&["--watch=stdin", "--", "sh", "-c", script]);
    command.stdin(Stdio::piped());
    let (mut child, mut said) = started(command);
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"a line\n").expect("write");
    assert_eq!(line(&mut said), "got a line");
    drop(stdin);
    assert_eq!(child.wait_deadline().signal(), Some(libc::SIGTERM));
}

#[test]
fn end_of_a_socket_on_standard_input_ends_the_tree() {
    // As Node gives its children.
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let mut command = shim(&["--watch=stdin", "--", "sh", "-c", "echo ready; sleep 1000"]);
    command.stdin(Stdio::from(OwnedFd::from(theirs)));
    let (mut child, mut said) = started(command);
    assert_eq!(line(&mut said), "ready");
    drop(ours);
    assert_eq!(child.wait_deadline().signal(), Some(libc::SIGTERM));
}

// What it reports.

#[test]
fn reports_are_lines_of_json_and_end_when_the_tree_is_gone() {
    let (read, write) = std::io::pipe().expect("a pipe");
    let words = [
        "--status-fd=9",
        "--stop-timeout=100ms",
        "--",
        "sh",
        "-c",
        "setsid sh -c \"trap '' TERM; sleep 1000\" & sleep 0.1; exit 4",
    ];
    let mut command = shim(&words);
    give(&mut command, write.into(), 9);
    let mut child = Guard::spawn(&mut command);
    drop(command);
    let lines: Vec<serde_json::Value> = BufReader::new(read)
        .lines()
        .map(|line| serde_json::from_str(&line.expect("a line")).expect("JSON"))
        .collect();
    let events: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["event"].as_str())
        .collect();
    assert_eq!(
        events,
        ["started", "exited", "stopping", "gone"],
        "{lines:?}"
    );
    assert_eq!(lines[1]["code"], 4);
    assert_eq!(lines[2]["cause"], "command-exited");
    assert!(
        lines[3]["killed"]
            .as_u64()
            .is_some_and(|killed| killed >= 1)
    );
    assert_eq!(child.wait_deadline().code(), Some(4));
}

#[test]
fn reader_of_the_reports_that_is_gone_disturbs_nobody() {
    let (read, write) = std::io::pipe().expect("a pipe");
    drop(read);
    let mut command = shim(&["--status-fd=9", "--", "sh", "-c", "exit 3"]);
    give(&mut command, write.into(), 9);
    assert_eq!(command.status().expect("run the shim").code(), Some(3));
}
