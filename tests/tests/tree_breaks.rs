//! Circumstances in which the shim once broke its promise: the caller's, the system's, and
//! COMMAND's.

use std::fs;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};

use fd_preserve::PreserveFds;
use pidfd_watcher::{Pid, Process, Signal};
use workspace_tests::below::{ends, living, nobody_is_left, open, pid_of, term, three};
use workspace_tests::container::as_init;
use workspace_tests::installed::installed;
use workspace_tests::orders::Order;
use workspace_tests::play::can;
use workspace_tests::{
    Dialogue, Folder, Guard, alone_in_pid_namespace, proc_fs, seccomp, time_limit, until,
};

const SHIM: &str = env!("CARGO_BIN_EXE_shim_under_test");
const FORKER: &str = env!("CARGO_BIN_EXE_forker");

/// A user that owns nothing.
const NOBODY: u32 = 65534;

fn shim(options: &[&str], words: &[&str]) -> Command {
    let mut command = Command::new(SHIM);
    command.args(options).arg("--").args(words);
    command
}

/// COMMAND is this script of bash.
fn script(options: &[&str], text: &str) -> Dialogue {
    Dialogue::spawn(&mut shim(options, &["bash", "-c", text]))
}

/// The shim's end, and what it said on standard error.
fn refused(mut command: Command) -> (ExitStatus, String) {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    // Not by `output`, which polls.
    let mut shim = Guard::spawn(command.stderr(Stdio::piped()));
    let mut error = String::new();
    let mut output = String::new();
    let said = shim
        .stderr
        .take()
        .expect("a pipe")
        .read_to_string(&mut error);
    said.expect("read");
    let said = shim
        .stdout
        .take()
        .expect("a pipe")
        .read_to_string(&mut output);
    said.expect("read");
    assert_eq!(output, "", "nothing was started");
    (shim.wait_deadline(), error)
}

/// Which of the containments this machine has.
fn containments() -> impl Iterator<Item = &'static str> {
    let all = ["subreaper", "pidns", "cgroup"];
    all.into_iter().filter(|contain| can(SHIM, contain))
}

// The caller's.

#[test]
fn command_runs_in_each_containment_where_the_caller_ignores_sigchld() {
    alone_in_pid_namespace!({
        let contain: Vec<&str> = containments().collect();
        for contain in contain {
            let option = format!("--contain={contain}");
            let mut command = shim(&[&option], &["sh", "-c", "exit 3"]);
            // SAFETY: SIG_IGN is no function that could be wrong.
            unsafe {
                command.pre_exec(|| {
                    libc::signal(libc::SIGCHLD, libc::SIG_IGN);
                    Ok(())
                });
            }
            let status = Guard::spawn(&mut command).wait_deadline();
            assert_eq!(status.code(), Some(3), "{contain}: {status}");
        }
    });
}

#[test]
fn parent_is_watched_and_command_runs_where_the_standard_streams_are_closed() {
    alone_in_pid_namespace!({
        let folder = Folder::new();
        let fifo = folder.join("said");
        let made = Command::new("mkfifo").arg(&fifo).status();
        assert!(made.expect("run").success());
        let path = fifo.to_str().expect("a plain path");
        // Its end is that of the shim's parent.
        let text = "\"$0\" --watch=parent --stop-timeout=100ms --status-fd=7 -- sleep 1000 \
                    7>\"$1\" 0<&- 1>&- 2>&- & read line";
        let mut parent = Dialogue::spawn(Command::new("bash").args(["-c", text, SHIM, path]));
        let mut reports = fs::File::open(&fifo).expect("open");
        until("COMMAND runs", || (living().len() == 5).then_some(()));
        parent.child().kill().expect("own child");
        let mut said = String::new();
        reports.read_to_string(&mut said).expect("read");
        let mut lines = said
            .lines()
            .map(|line| line.split(',').next().unwrap_or(""));
        assert_eq!(lines.next(), Some(r#"{"event":"started""#), "{said}");
        assert!(said.contains("runtime-died"), "{said}");
        assert!(said.contains(r#"{"event":"exited","signal":15"#), "{said}");
        nobody_is_left();
    });
}

#[test]
fn reports_on_a_standard_stream_that_is_closed_are_refused() {
    alone_in_pid_namespace!({
        for option in ["--status-fd=0", "--watch=stdin"] {
            let text = format!("exec \"$0\" {option} -- echo started 0<&-");
            let mut command = Command::new("sh");
            command.args(["-c", &text, SHIM]);
            let (status, error) = refused(command);
            assert_eq!(status.code(), Some(125), "{error}");
            assert!(error.contains("Bad file descriptor"), "{error}");
        }
    });
}

#[test]
fn socket_is_reported_to_and_watched_by_one_number() {
    alone_in_pid_namespace!({
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let mut command = shim(&["--watch=fd:9", "--status-fd=9"], &["sleep", "1000"]);
        let mut fds = PreserveFds::new();
        fds.map_fd(OwnedFd::from(theirs), 9).expect("a plan");
        let applied = fds.apply(&mut command).expect("apply");
        let mut shim = Guard::spawn(&mut command);
        drop((command, applied));
        let mut first = [0; 18];
        (&ours).read_exact(&mut first).expect("read");
        assert_eq!(&first, br#"{"event":"started""#);
        ours.shutdown(std::net::Shutdown::Write).expect("shutdown");
        let mut rest = String::new();
        (&ours).read_to_string(&mut rest).expect("read");
        assert!(
            rest.ends_with("{\"event\":\"gone\",\"killed\":0}\n"),
            "{rest}"
        );
        shim.wait_deadline();
        nobody_is_left();
    });
}

#[test]
fn parent_that_cannot_be_watched_is_no_parent_to_run_under() {
    alone_in_pid_namespace!({
        let mut other = Command::new("sleep");
        let other = as_init(other.arg("1000"), Guard::spawn);
        // Its parent is outside of the PID namespace that it enters.
        let mut command = Command::new("nsenter");
        command.args(["-t", &other.id().to_string(), "-p", "-m", SHIM]);
        let (status, error) = refused({
            command.args(["--", "echo", "started"]);
            command
        });
        assert_eq!(status.code(), Some(125), "{error}");
        assert!(error.contains("--watch=parent"), "{error}");
    });
}

#[test]
fn term_to_every_process_of_the_shim_is_one_request() {
    alone_in_pid_namespace!({
        let contain: Vec<&str> = containments().collect();
        for contain in contain {
            let option = format!("--contain={contain}");
            let text = "trap 'sleep 0.3; exit 5' TERM; echo ready; while :; do sleep 0.01; done";
            let mut shim = script(&[&option, "--stop-timeout=1h"], text);
            assert_eq!(shim.hear(), "ready");
            let command = proc_fs::all().into_iter().map(|stat| stat.pid);
            // As a service manager does: everybody whom it knows, but for a sleep that is gone.
            let opened = |pid| Process::open(Pid::from_raw(pid)?).ok();
            for process in command.filter(|pid| *pid != 1).filter_map(opened) {
                let _ = process.send_signal(Signal::TERM);
            }
            let status = shim.child().wait_deadline();
            assert_eq!(status.code(), Some(5), "{contain}: {status}");
            nobody_is_left();
        }
    });
}

#[test]
fn command_of_a_shim_below_a_shim_has_its_grace() {
    alone_in_pid_namespace!({
        let contain: Vec<String> = containments()
            .map(|contain| format!("--contain={contain}"))
            .collect();
        for outside in &contain {
            for inside in &contain {
                let text =
                    "trap 'sleep 0.3; exit 5' TERM; echo ready; while :; do sleep 0.01; done";
                let below = [SHIM, inside, "--stop-timeout=1h", "--", "bash", "-c", text];
                let options = [outside.as_str(), "--stop-timeout=1h"];
                let mut shim = Dialogue::spawn(&mut shim(&options, &below));
                assert_eq!(shim.hear(), "ready");
                term(&mut shim);
                let status = shim.child().wait_deadline();
                assert_eq!(status.code(), Some(5), "{outside} {inside}: {status}");
                nobody_is_left();
            }
        }
    });
}

#[test]
fn first_term_does_not_end_the_grace_that_began_when_the_runtime_died() {
    alone_in_pid_namespace!({
        let text = "trap 'echo asked' TERM; trap 'sleep 0.2; exit 5' USR1; echo ready; while :; \
                    do sleep 0.01; done";
        // The runtime's pipe is not COMMAND's standard input, whose end would be the first step.
        let moved = "exec \"$@\" 7<&0 </dev/null";
        let mut command = Command::new("sh");
        command.args(["-c", moved, "sh", SHIM, "--watch=fd:7", "--stop-timeout=1h"]);
        let mut shim = Dialogue::spawn(command.args(["--", "bash", "-c", text]));
        assert_eq!(shim.hear(), "ready");
        shim.hang_up();
        assert_eq!(shim.hear(), "asked");
        term(&mut shim);
        // Passed on behind it. Where that has ended the grace, COMMAND is killed.
        open(pid_of(&mut shim))
            .send_signal(Signal::USR1)
            .expect("send");
        assert_eq!(shim.child().wait_deadline().code(), Some(5));
        nobody_is_left();
    });
}

/// Waits for none of its children but the first shim, and gets every orphan.
#[test]
fn shim_leaves_no_zombie_to_whoever_gets_its_orphans() {
    alone_in_pid_namespace!({
        let contain: Vec<&str> = containments().collect();
        for contain in contain {
            let option = format!("--contain={contain}");
            let mut shim = Guard::spawn(&mut shim(&[&option], &["true"]));
            assert!(shim.wait_deadline().success());
            let left: Vec<proc_fs::Stat> = proc_fs::all();
            let left: Vec<&proc_fs::Stat> = left.iter().filter(|stat| stat.pid != 1).collect();
            assert!(left.is_empty(), "{contain}: {left:?}");
        }
    });
}

// The system's.

fn nothing_is_started_without(call: libc::c_long, name: &str) {
    seccomp::refuse(&[(call, libc::EPERM)]);
    let (status, error) = refused(shim(&[], &["echo", "started"]));
    assert_eq!(status.code(), Some(125), "{error}");
    assert!(error.contains(name), "{error}");
}

#[test]
fn shim_that_cannot_signal_by_a_pidfd_starts_nothing() {
    alone_in_pid_namespace!({
        let call = libc::SYS_pidfd_send_signal;
        nothing_is_started_without(call, "pidfd_send_signal(2)");
    });
}

#[test]
fn shim_that_cannot_signal_by_a_number_starts_nothing() {
    alone_in_pid_namespace!({
        nothing_is_started_without(libc::SYS_kill, "kill(2)");
    });
}

#[test]
fn shim_that_cannot_list_proc_starts_nothing() {
    alone_in_pid_namespace!({
        seccomp::refuse(&[(libc::SYS_getdents64, libc::EPERM)]);
        let (status, error) = refused(shim(&["--contain=subreaper"], &["echo", "started"]));
        assert_eq!(status.code(), Some(125), "{error}");
        assert!(error.contains("/proc"), "{error}");
    });
}

#[test]
fn shim_without_wait4_ends_its_tree() {
    alone_in_pid_namespace!({
        let mut command = shim(
            &[
                "--watch=stdin",
                "--stop-timeout=100ms",
                "--contain=subreaper",
            ],
            &["sleep", "1000"],
        );
        command.stdin(Stdio::piped());
        // SAFETY: the copy of a process with one thread may do everything.
        unsafe {
            command.pre_exec(|| {
                seccomp::refuse(&[(libc::SYS_wait4, libc::EPERM)]);
                Ok(())
            });
        }
        let mut shim = Guard::spawn(&mut command);
        until("COMMAND runs", || (living().len() == 4).then_some(()));
        drop(shim.stdin.take());
        assert_eq!(shim.wait_deadline().code(), None);
        nobody_is_left();
    });
}

/// `unshare --pid --fork` without a /proc of its own.
#[test]
fn init_that_sees_the_proc_of_somebody_else_ends_its_tree() {
    alone_in_pid_namespace!({
        let text = "trap '' TERM; (setsid sleep 1000 &); echo ready; while :; do sleep 0.01; done";
        let mut unshare = Command::new("unshare");
        unshare.args(["--pid", "--fork", SHIM, "--stop-timeout=100ms", "--"]);
        let mut unshare = Dialogue::spawn(unshare.args(["bash", "-c", text]));
        assert_eq!(unshare.hear(), "ready");
        let init = proc_fs::children_of(pid_of(&mut unshare))[0].pid;
        open(init).send_signal(Signal::TERM).expect("send");
        unshare.child().wait_deadline();
        nobody_is_left();
    });
}

#[test]
fn process_that_proc_hides_is_ended() {
    alone_in_pid_namespace!({
        let folder = Folder::new();
        let copy = folder.join("shim");
        fs::copy(SHIM, &copy).expect("copy");
        let hide = "mount -o remount,hidepid=invisible /proc || exit 77; \
                    exec setpriv --reuid \"$1\" --regid \"$1\" --clear-groups \
                    \"$0\" --stop-timeout=100ms -- /usr/bin/python3 -c \"$2\"";
        // Not dumpable, as an agent that keeps keys: all that the user sees of /proc is without it.
        let command = "import ctypes, signal, time\n\
                       ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\n\
                       signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
                       print('ready', flush=True)\n\
                       while True: time.sleep(1000)";
        let mut sh = Command::new("sh");
        sh.args(["-c", hide]).arg(&copy).arg(NOBODY.to_string());
        ends(Dialogue::spawn(sh.arg(command)));
    });
}

#[test]
fn all_get_the_stop_signal_where_descriptors_are_few() {
    alone_in_pid_namespace!({
        let text = "import os, resource, signal, time\n\
                    for i in range(40):\n\
                    \x20if os.fork() == 0:\n\
                    \x20\x20os.setsid()\n\
                    \x20\x20signal.signal(signal.SIGTERM, lambda *_: os._exit(0))\n\
                    \x20\x20os.write(1, b'.')\n\
                    \x20\x20while True: time.sleep(1000)\n\
                    signal.signal(signal.SIGTERM, lambda *_: None)\n\
                    for i in range(40): os.wait()\n";
        let mut command = shim(&["--stop-timeout=1h"], &["python3", "-c", text]);
        // SAFETY: a system call on a valid structure.
        unsafe {
            command.pre_exec(|| {
                let few = libc::rlimit {
                    rlim_cur: 20,
                    rlim_max: 20,
                };
                libc::setrlimit(libc::RLIMIT_NOFILE, &raw const few);
                Ok(())
            });
        }
        let mut shim = Guard::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()));
        let mut said = [0; 40];
        let mut stdout = shim.stdout.take().expect("a pipe");
        stdout.read_exact(&mut said).expect("all are there");
        let outer = i32::try_from(shim.id()).expect("a pid");
        open(outer).send_signal(Signal::TERM).expect("send");
        // With the longest grace: nobody is killed.
        assert!(shim.wait_deadline().success());
        nobody_is_left();
    });
}

// COMMAND's.

#[test]
fn all_who_were_killed_are_counted() {
    alone_in_pid_namespace!({
        // None of them waits: whoever does may see the end of another before its own.
        let text = "import os, signal, time\n\
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
                    for i in range(3): os.fork()\n\
                    os.write(1, b'.')\n\
                    while True: time.sleep(1000)\n";
        let contain: Vec<&str> = containments().chain(["none"]).collect();
        for contain in contain {
            let option = format!("--contain={contain}");
            let options = [&option, "--stop-timeout=100ms", "--status-fd=2"];
            let mut command = shim(&options, &["python3", "-c", text]);
            command.stdin(Stdio::null()).stdout(Stdio::piped());
            let mut shim = Guard::spawn(command.stderr(Stdio::piped()));
            let mut stdout = shim.stdout.take().expect("a pipe");
            stdout.read_exact(&mut [0; 8]).expect("all are there");
            let outer = i32::try_from(shim.id()).expect("a pid");
            open(outer).send_signal(Signal::TERM).expect("send");
            shim.wait_deadline();
            let killed = if contain == "none" { 1 } else { 8 };
            if contain == "none" {
                for pid in living() {
                    let _ = open(pid).send_signal(Signal::KILL);
                }
            }
            let mut said = String::new();
            let mut stderr = shim.stderr.take().expect("a pipe");
            stderr.read_to_string(&mut said).expect("read");
            let gone = format!("{{\"event\":\"gone\",\"killed\":{killed}}}\n");
            assert!(said.ends_with(&gone), "{contain}: {said}");
            nobody_is_left();
        }
    });
}

#[test]
fn command_that_takes_proc_away_is_ended() {
    alone_in_pid_namespace!({
        for away in ["umount -l /proc", "mount -t tmpfs none /proc"] {
            let text = format!(
                "trap '' TERM; (setsid sleep 1000 &); {away} && echo ready; while :; do sleep \
                 0.01; done"
            );
            let mut unshare = Command::new("unshare");
            unshare.args(["-m", SHIM, "--stop-timeout=100ms", "--contain=subreaper"]);
            ends(Dialogue::spawn(unshare.args(["--", "bash", "-c", &text])));
        }
    });
}

#[test]
fn command_that_floods_inner_with_signals_that_queue_is_ended() {
    alone_in_pid_namespace!({
        let text = "import os, signal\n\
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
                    for n in range(34, 65): signal.signal(n, signal.SIG_IGN)\n\
                    inner = os.getppid()\n\
                    print('ready', flush=True)\n\
                    while True: os.kill(inner, 64)\n";
        let options = ["--stop-timeout=100ms", "--contain=subreaper"];
        ends(Dialogue::spawn(&mut shim(
            &options,
            &["python3", "-c", text],
        )));
    });
}

#[test]
fn outer_that_is_stopped_does_not_stay_when_its_tree_is_gone() {
    alone_in_pid_namespace!({
        let contain: Vec<&str> = containments().collect();
        for contain in contain {
            let option = format!("--contain={contain}");
            let options = [&option, "--watch=stdin", "--stop-timeout=100ms"];
            let mut shim = script(&options, "echo ready; exec sleep 1000");
            assert_eq!(shim.hear(), "ready");
            let outer = pid_of(&mut shim);
            open(outer).send_signal(Signal::STOP).expect("send");
            until("OUTER is stopped", || {
                proc_fs::stat(outer).filter(|stat| stat.state == 'T')
            });
            shim.hang_up();
            shim.child().wait_deadline();
            nobody_is_left();
        }
    });
}

#[test]
fn outer_that_has_stopped_with_command_does_not_stay_when_the_tree_is_gone() {
    alone_in_pid_namespace!({
        let options = ["--session=keep", "--watch=stdin", "--stop-timeout=100ms"];
        let mut shim = script(&options, "echo ready; kill -STOP $$; sleep 1000");
        assert_eq!(shim.hear(), "ready");
        let outer = pid_of(&mut shim);
        until("OUTER has stopped", || {
            proc_fs::stat(outer).filter(|stat| stat.state == 'T')
        });
        shim.hang_up();
        shim.child().wait_deadline();
        nobody_is_left();
    });
}

#[test]
fn shim_dies_of_the_signals_too_that_the_c_library_keeps_to_itself() {
    alone_in_pid_namespace!({
        use std::os::unix::process::ExitStatusExt;
        for signal in [32, 33] {
            let text = format!("import os; os.kill(os.getpid(), {signal})");
            let mut command = shim(&[], &["python3", "-c", &text]);
            // SAFETY: all zeros are the default action, as the kernel has it.
            unsafe {
                command.pre_exec(move || {
                    let (default, size) = ([0_u64; 4], size_of::<u64>());
                    let old = std::ptr::null_mut::<u64>();
                    libc::syscall(
                        libc::SYS_rt_sigaction,
                        signal,
                        &raw const default,
                        old,
                        size,
                    );
                    Ok(())
                });
            }
            let mut shim = Guard::spawn(&mut command);
            let status = shim.wait_deadline();
            assert_eq!(status.signal(), Some(signal), "{status}");
        }
    });
}

/// COMMAND is stopped, and killed after INNER has seen that and before it has taken the news.
#[test]
fn end_of_command_is_not_lost_behind_a_stop() {
    alone_in_pid_namespace!({
        if !installed(&["strace"]) {
            return;
        }
        let mut shim = script(
            &["--contain=subreaper"],
            "echo ready; read line; kill -STOP $$",
        );
        assert_eq!(shim.hear(), "ready");
        let [_, _, inner] = three(&mut shim);
        let command = proc_fs::children_of(inner)[0].pid;
        let folder = Folder::new();
        let log = folder.join("log");
        let mut strace = Command::new("strace");
        strace
            .args(["-qq", "-p", &inner.to_string(), "-o"])
            .arg(&log);
        // Each wait waits before it looks.
        let delay = "--inject=wait4,waitid:delay_enter=500000";
        let _strace = Guard::spawn(strace.args(["-e", "trace=wait4,waitid", delay]));
        until("INNER is traced", || {
            let status = fs::read_to_string(format!("/proc/{inner}/status")).ok()?;
            (!status.contains("TracerPid:\t0\n")).then_some(())
        });
        shim.say("go");
        // The look has taken place, and the wait that takes the news has not.
        until("INNER has seen the stop", || {
            let log = fs::read_to_string(&log).ok()?;
            log.contains("CLD_STOPPED").then_some(())
        });
        open(command).send_signal(Signal::KILL).expect("send");
        let status = shim.child().wait_deadline();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(9)
        );
    });
}

#[test]
fn command_that_was_killed_before_it_was_executed_is_reported_as_not_started() {
    alone_in_pid_namespace!({
        let folder = Folder::new();
        let report = fs::File::create(folder.join("report")).expect("create");
        let program = fs::File::open(SHIM).expect("open");
        let mut command = Command::new(SHIM);
        // SAFETY: the copy of a process with one thread may do everything; strings that end with a
        // null byte, and arrays of them that end with a null pointer.
        unsafe {
            command.pre_exec(move || {
                assert!(libc::dup2(report.as_raw_fd(), 7) == 7);
                // This process itself goes another way.
                seccomp::kill_process_at(&[libc::SYS_execve]);
                let words = [c"watchdog-shim", c"--status-fd=7", c"--", c"/bin/true"];
                let words = words.map(std::ffi::CStr::as_ptr);
                let words: Vec<_> = words.into_iter().chain([std::ptr::null()]).collect();
                let (own, path, none) = (program.as_raw_fd(), c"".as_ptr(), words[4..].as_ptr());
                let flags = libc::AT_EMPTY_PATH;
                libc::syscall(libc::SYS_execveat, own, path, words.as_ptr(), none, flags);
                Err(std::io::Error::last_os_error())
            });
        }
        let (status, error) = refused(command);
        assert_eq!(status.code(), Some(126), "{status}: {error}");
        assert!(error.contains("killed by signal 31 before"), "{error}");
        let said = fs::read_to_string(folder.join("report")).expect("read");
        assert_eq!(said, "");
    });
}

#[test]
fn inner_that_is_stopped_as_soon_as_command_runs_is_continued() {
    alone_in_pid_namespace!({
        if !installed(&["strace"]) {
            return;
        }
        // INNER has not gone on from the start of COMMAND when it is stopped.
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=setsid"]);
        strace.args(["--inject=setsid:delay_enter=500000", SHIM, "--session=keep"]);
        strace.args(["--contain=subreaper", "--stop-timeout=100ms", "--"]);
        let text = "kill -STOP $PPID; echo ready; while :; do sleep 0.01; done";
        let mut strace = Dialogue::spawn(strace.args(["bash", "-c", text]));
        assert_eq!(strace.hear(), "ready");
        let outer = proc_fs::children_of(pid_of(&mut strace))[0].pid;
        open(outer).send_signal(Signal::TERM).expect("send");
        strace.child().wait_deadline();
        nobody_is_left();
    });
}

/// Eight of them, on fewer processors, each of which is another process all the time.
#[test]
fn comets_are_caught() {
    alone_in_pid_namespace!({
        let folder = Folder::new();
        let lasts = time_limit();
        let path = folder.join("");
        let order = Order::Comet {
            folder: path,
            lasts,
        };
        let order = order.argument();
        let text = "for i in 1 2 3 4 5 6 7 8; do \"$0\" \"$1\" & done; wait";
        let words = ["sh", "-c", text, FORKER, &order];
        let start = std::time::Instant::now();
        let options = ["--contain=subreaper", "--stop-timeout=100ms"];
        let status = Guard::spawn(&mut shim(&options, &words)).wait_deadline();
        assert!(status.success(), "{status}");
        assert!(start.elapsed() < lasts);
        nobody_is_left();
    });
}

/// Somebody else takes the room in the pipe of the reports after INNER has looked for it.
#[test]
fn report_that_has_no_room_any_more_does_not_put_off_the_end() {
    alone_in_pid_namespace!({
        if !installed(&["strace"]) {
            return;
        }
        let (read, write) = rustix::pipe::pipe().expect("pipe");
        let text = "trap '' TERM; echo ready; while :; do sleep 0.01; done";
        let words = ["bash", "-c", text];
        let options = [
            "--status-fd=9",
            "--stop-timeout=100ms",
            "--contain=subreaper",
        ];
        let mut command = shim(&options, &words);
        let mut fds = PreserveFds::new();
        let other = write.try_clone().expect("a duplicate");
        fds.map_fd(other, 9).expect("a plan");
        let applied = fds.apply(&mut command).expect("apply");
        let mut shim = Dialogue::spawn(&mut command);
        drop((command, applied));
        assert_eq!(shim.hear(), "ready");
        let [_, _, inner] = three(&mut shim);
        let folder = Folder::new();
        let log = folder.join("log");
        let mut strace = Command::new("strace");
        strace
            .args(["-qq", "-p", &inner.to_string(), "-o"])
            .arg(&log);
        strace.args(["-e", "trace=poll,ppoll,write,sendto"]);
        let delay = "--inject=write,sendto:delay_enter=500000";
        let _strace = Guard::spawn(strace.arg(delay));
        until("INNER is traced", || {
            let status = fs::read_to_string(format!("/proc/{inner}/status")).ok()?;
            (!status.contains("TracerPid:\t0\n")).then_some(())
        });
        term(&mut shim);
        until("INNER has found room", || {
            let log = fs::read_to_string(&log).ok()?;
            log.contains("revents=POLLOUT").then_some(())
        });
        rustix::io::ioctl_fionbio(&write, true).expect("a flag");
        while rustix::io::write(&write, &[b'.'; 4096]).is_ok() {}
        rustix::io::ioctl_fionbio(&write, false).expect("a flag");
        shim.child().wait_deadline();
        nobody_is_left();
        drop(read);
    });
}
