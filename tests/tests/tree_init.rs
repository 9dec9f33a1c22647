//! The shim as pid 1 of a container: the cases of the test suites of tini and dumb-init.
//! docs/init.md has the table.
//!
//! Where the two are installed the same case runs against them, so that the table's columns are
//! measured.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use pidfd_watcher::Signal;
use workspace_tests::container::{Container, Init, as_init};
use workspace_tests::terminal::Terminal;
use workspace_tests::{Folder, Guard, alone_in_pid_namespace, proc_fs, until};

const SHIM: Init = Init::Shim(env!("CARGO_BIN_EXE_shim_under_test"));
const ALL: [Init; 3] = [SHIM, Init::Tini, Init::DumbInit];

/// Does nothing until a signal's trap has something to do.
const WAIT: &str = "echo ready; while :; do sleep 0.01; done";

/// A container whose init runs this script in bash; `None` where the init is not installed.
fn bash(init: Init, options: &[&str], script: &str) -> Option<Container> {
    let mut command = init.command(options, &["bash", "-c", script])?;
    Some(Container::start(&mut command))
}

fn shim(options: &[&str], script: &str) -> Container {
    bash(SHIM, options, script).expect("the shim is always there")
}

/// The exit code and the error output of an init with these words.
fn refused(init: Init, options: &[&str], words: &[&str]) -> Option<(Option<i32>, String)> {
    let mut command = init.command(options, words)?;
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let child = as_init(&mut command, |command| command.spawn().expect("spawn"));
    let output = child.wait_with_output().expect("wait");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Some((output.status.code(), said))
}

// How it ends.

#[test]
fn init_exits_with_every_code_of_command() {
    alone_in_pid_namespace!({
        for code in 0..=255 {
            let mut container = shim(&[], &format!("exit {code}"));
            assert_eq!(container.code(), Some(code));
        }
        for init in [Init::Tini, Init::DumbInit] {
            let Some(mut container) = bash(init, &[], "exit 42") else {
                continue;
            };
            assert_eq!(container.code(), Some(42), "{init:?}");
        }
    });
}

#[test]
fn init_exits_with_128_and_the_signal_that_ended_command() {
    alone_in_pid_namespace!({
        for signal in [
            libc::SIGTERM,
            libc::SIGHUP,
            libc::SIGQUIT,
            libc::SIGKILL,
            libc::SIGSEGV,
        ] {
            for init in ALL {
                // bash itself ignores SIGQUIT.
                let script = format!("ulimit -c 0; exec sh -c 'kill -{signal} $$'");
                let Some(mut container) = bash(init, &[], &script) else {
                    continue;
                };
                assert_eq!(container.code(), Some(128 + signal), "{init:?}");
            }
        }
    });
}

/// A program that is pid 1 itself would ignore them.
#[test]
fn command_with_default_actions_dies_of_a_signal_to_the_init() {
    alone_in_pid_namespace!({
        for signal in [Signal::TERM, Signal::USR1, Signal::USR2] {
            for init in ALL {
                let Some(mut container) = bash(init, &[], "echo ready; exec sleep 1000") else {
                    continue;
                };
                assert_eq!(container.line(), "ready");
                container.signal(signal);
                assert_eq!(container.code(), Some(128 + signal.as_raw()), "{init:?}");
            }
        }
    });
}

// What cannot be started.

#[test]
fn init_exits_with_127_for_a_program_that_is_not_found() {
    alone_in_pid_namespace!({
        for (init, code) in [(SHIM, 127), (Init::Tini, 127), (Init::DumbInit, 2)] {
            if let Some((ended, said)) = refused(init, &[], &["/nowhere"]) {
                assert_eq!(ended, Some(code), "{init:?}");
                assert!(said.contains("/nowhere"), "{said}");
            }
        }
    });
}

#[test]
fn init_exits_with_126_for_what_cannot_be_executed() {
    alone_in_pid_namespace!({
        for (init, code) in [(SHIM, 126), (Init::Tini, 126), (Init::DumbInit, 2)] {
            if let Some((ended, said)) = refused(init, &[], &["/etc"]) {
                assert_eq!(ended, Some(code), "{init:?}");
                assert!(said.contains("/etc"), "{said}");
            }
        }
    });
}

#[test]
fn init_without_a_command_and_with_an_unknown_option_starts_nothing() {
    alone_in_pid_namespace!({
        for (init, code) in [(SHIM, 125), (Init::Tini, 1), (Init::DumbInit, 1)] {
            for (options, words) in [(&[][..], &[][..]), (&["--bogus"], &["true"])] {
                if let Some((ended, said)) = refused(init, options, words) {
                    assert_eq!(ended, Some(code), "{init:?}");
                    assert!(!said.is_empty());
                }
            }
        }
    });
}

#[test]
fn second_double_dash_is_the_name_of_a_program() {
    alone_in_pid_namespace!({
        for (init, code) in [(SHIM, 127), (Init::Tini, 127), (Init::DumbInit, 2)] {
            if let Some((ended, _)) = refused(init, &[], &["--", "true"]) {
                assert_eq!(ended, Some(code), "{init:?}");
            }
        }
    });
}

#[test]
fn help_and_version_exit_with_0() {
    alone_in_pid_namespace!({
        for option in ["-h", "--version"] {
            for init in ALL {
                if let Some((ended, _)) = refused(init, &[option], &[]) {
                    assert_eq!(ended, Some(0), "{init:?} {option}");
                }
            }
        }
    });
}

// Zombies.

#[test]
fn hundred_orphans_are_reaped_while_command_lives() {
    alone_in_pid_namespace!({
        let script = "bash -c 'for i in $(seq 100); do sleep 0.0$((i % 10)) & done'; echo ready; \
                      exec sleep 1000";
        for init in ALL {
            let Some(mut container) = bash(init, &[], script) else {
                continue;
            };
            assert_eq!(container.line(), "ready");
            // COMMAND alone is left, and nobody is a zombie.
            until("all orphans are reaped", || {
                (container.children().len() == 1).then_some(())
            });
            assert!(proc_fs::all().iter().all(|stat| stat.state != 'Z'));
        }
    });
}

// Signals that are passed on.

/// All that can be caught, but for SIGCHLD, which is the init's own news, and those that stop.
#[test]
fn every_signal_that_can_be_caught_reaches_command_once() {
    alone_in_pid_namespace!({
        let caught = (1..32).filter(|number| ![9, 17, 19, 20, 21, 22].contains(number));
        let numbers: Vec<i32> = caught.collect();
        let traps: String = (numbers.iter())
            .map(|number| format!("trap 'echo {number}' {number}; "))
            .collect();
        let of_itself = [4, 5, 6, 7, 8, 11, 31];
        for init in ALL {
            let Some(mut container) = bash(init, &[], &format!("{traps}{WAIT}")) else {
                continue;
            };
            assert_eq!(container.line(), "ready");
            for &number in &numbers {
                // tini takes those for faults of its own.
                if init == Init::Tini && of_itself.contains(&number) {
                    continue;
                }
                // The shim's SIGTERM begins the stop: last, and below.
                if number == libc::SIGTERM && init == SHIM {
                    continue;
                }
                container.signal(Signal::from_named_raw(number).expect("a signal"));
                assert_eq!(container.line(), number.to_string(), "{init:?}");
            }
            if init == SHIM {
                container.signal(Signal::TERM);
                // SIGCONT follows, for one that is stopped.
                let both = [container.line(), container.line()];
                assert!(both.contains(&"15".to_owned()), "{both:?}");
                assert!(both.contains(&"18".to_owned()), "{both:?}");
            }
        }
    });
}

/// What the terminal sends to a background process is none of COMMAND's business; dumb-init passes
/// it on.
#[test]
fn ttin_and_ttou_to_the_init_are_swallowed() {
    alone_in_pid_namespace!({
        let script =
            format!("trap 'echo in' TTIN; trap 'echo out' TTOU; trap 'echo usr' USR1; {WAIT}");
        let mut container = shim(&[], &script);
        assert_eq!(container.line(), "ready");
        for signal in [Signal::TTIN, Signal::TTOU, Signal::USR1] {
            container.signal(signal);
        }
        assert_eq!(container.line(), "usr");
    });
}

#[test]
fn tstp_and_cont_to_the_init_reach_command_and_the_init_goes_on() {
    alone_in_pid_namespace!({
        let script = format!("trap 'echo stop' TSTP; trap 'echo go' CONT; {WAIT}");
        let mut container = shim(&[], &script);
        assert_eq!(container.line(), "ready");
        for _ in 0..2 {
            container.signal(Signal::TSTP);
            assert_eq!(container.line(), "stop");
            container.signal(Signal::CONT);
            assert_eq!(container.line(), "go");
        }
    });
}

#[test]
fn command_that_was_stopped_is_continued_by_cont_to_the_init() {
    alone_in_pid_namespace!({
        let script = "trap 'echo go; exit 4' CONT; kill -STOP $$; while :; do sleep 0.01; done";
        let mut container = shim(&[], script);
        container.until_child_is('T');
        container.signal(Signal::CONT);
        assert_eq!(container.line(), "go");
        assert_eq!(container.code(), Some(4));
    });
}

/// dumb-init says this with --rewrite 15:3.
#[test]
fn term_is_rewritten_by_the_stop_signal() {
    alone_in_pid_namespace!({
        let script = format!("trap 'echo quit; exit 0' QUIT; trap 'echo term' TERM; {WAIT}");
        for (init, options) in [
            (SHIM, &["--stop-signal=QUIT"][..]),
            (Init::DumbInit, &["--rewrite", "15:3"]),
        ] {
            let Some(mut container) = bash(init, options, &script) else {
                continue;
            };
            assert_eq!(container.line(), "ready");
            container.signal(Signal::TERM);
            assert_eq!(container.line(), "quit", "{init:?}");
            assert_eq!(container.code(), Some(0));
        }
    });
}

// Who gets the stop signal.

/// The children of a pipeline end, though the shell that started them has no trap.
#[test]
fn term_to_the_init_ends_a_whole_pipeline() {
    alone_in_pid_namespace!({
        let script = "yes | tail & (yes | tail >&2) & echo ready; wait";
        let mut container = shim(&["--stop-timeout=1h"], script);
        assert_eq!(container.line(), "ready");
        container.signal(Signal::TERM);
        // With the longest grace: the stop signal has ended them all.
        assert_eq!(container.code(), Some(128 + libc::SIGTERM));
    });
}

/// tini says this with -g, and for every signal.
#[test]
fn group_of_command_gets_the_stop_signal_if_that_is_asked_for() {
    alone_in_pid_namespace!({
        let script = "trap '' USR1; python3 -c 'import signal, time; \
                      signal.signal(signal.SIGUSR1, signal.SIG_DFL); print(\"ready\", flush=True); \
                      time.sleep(1000)'; exit 7";
        for (init, options, signal) in [
            (
                SHIM,
                &["--stop-signal=USR1", "--signal-to=group"][..],
                Signal::TERM,
            ),
            (Init::Tini, &["-g"], Signal::USR1),
        ] {
            let Some(mut container) = bash(init, options, script) else {
                continue;
            };
            assert_eq!(container.line(), "ready");
            container.signal(signal);
            assert_eq!(container.code(), Some(7), "{init:?}");
        }
    });
}

#[test]
fn command_alone_gets_the_stop_signal_if_that_is_asked_for() {
    alone_in_pid_namespace!({
        let script = "bash -c \"trap 'echo other' TERM; echo child; while :; do sleep 0.01; \
                      done\" & \
                      trap 'echo main' TERM; while :; do sleep 0.01; done";
        let mut container = shim(&["--signal-to=main", "--stop-timeout=300ms"], script);
        assert_eq!(container.line(), "child");
        container.signal(Signal::TERM);
        assert_eq!(container.rest(), "main\n");
        assert_eq!(container.code(), Some(128 + libc::SIGKILL));
    });
}

/// tini and dumb-init wait for ever.
#[test]
fn command_that_ignores_term_is_killed_after_the_grace() {
    alone_in_pid_namespace!({
        let mut container = shim(&["--stop-timeout=100ms"], &format!("trap '' TERM; {WAIT}"));
        assert_eq!(container.line(), "ready");
        container.signal(Signal::TERM);
        assert_eq!(container.code(), Some(128 + libc::SIGKILL));
    });
}

// When COMMAND has ended and others live.

/// Ends with a line at the stop signal.
const DAEMON: &str = "setsid bash -c \"trap 'sleep 0.2; echo told; exit' TERM; echo ready >&2; \
                      while :; do sleep 0.01; done\" 2>ready & until test -s ready; do :; done; \
                      exit 5";

#[test]
fn those_who_outlive_command_are_told_and_waited_for() {
    alone_in_pid_namespace!({
        let folder = Folder::new();
        for (init, said) in [(SHIM, "told\n"), (Init::Tini, ""), (Init::DumbInit, "")] {
            let Some(mut command) = init.command(&[], &["bash", "-c", DAEMON]) else {
                continue;
            };
            let _ = std::fs::remove_file(folder.join("ready"));
            let mut container = Container::start(command.current_dir(folder.path()));
            assert_eq!(container.rest(), said, "{init:?}");
            assert_eq!(container.code(), Some(5));
        }
    });
}

#[test]
fn init_exits_at_once_when_command_does_if_that_is_asked_for() {
    alone_in_pid_namespace!({
        let folder = Folder::new();
        let options = ["--on-exit=leave"];
        let mut command = SHIM
            .command(&options, &["bash", "-c", DAEMON])
            .expect("the shim");
        let mut container = Container::start(command.current_dir(folder.path()));
        // The kernel ends the others with pid 1: nobody is told.
        assert_eq!(container.rest(), "");
        assert_eq!(container.code(), Some(5));
    });
}

// What COMMAND is given.

#[test]
fn ignored_and_blocked_signals_of_command_are_those_of_the_inits_birth() {
    alone_in_pid_namespace!({
        let ignored = [libc::SIGTTOU, libc::SIGSEGV, libc::SIGINT];
        let blocked = [libc::SIGTTIN, libc::SIGILL, libc::SIGTERM];
        for init in [SHIM, Init::Tini] {
            // Not grep, which catches SIGSEGV.
            let words = ["cat", "/proc/self/status"];
            let Some(mut command) = init.command(&[], &words) else {
                continue;
            };
            // SAFETY: the closure makes async-signal-safe calls alone.
            unsafe {
                command.pre_exec(move || {
                    let mut set = std::mem::zeroed();
                    libc::sigemptyset(&raw mut set);
                    for signal in blocked {
                        libc::sigaddset(&raw mut set, signal);
                    }
                    for signal in ignored {
                        libc::signal(signal, libc::SIG_IGN);
                    }
                    libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
                    Ok(())
                });
            }
            let said = Container::start(&mut command).rest();
            let mask = |name: &str| {
                let line = said.lines().find_map(|line| line.strip_prefix(name));
                u64::from_str_radix(line.expect("the field").trim(), 16).expect("a mask")
            };
            let all = |signals: [i32; 3]| {
                signals
                    .iter()
                    .fold(0, |all, signal| all | 1 << (signal - 1))
            };
            assert_eq!(mask("SigBlk:"), all(blocked), "{init:?}");
            assert_eq!(mask("SigIgn:") & all(ignored), all(ignored), "{init:?}");
        }
    });
}

#[test]
fn command_reads_standard_input_through_the_init() {
    alone_in_pid_namespace!({
        for init in ALL {
            let Some(mut command) = init.command(&[], &["sh"]) else {
                continue;
            };
            let (read, write) = std::io::pipe().expect("a pipe");
            std::io::Write::write_all(&mut &write, b"echo read; exit 6\n").expect("write");
            drop(write);
            let mut container = Container::start(command.stdin(Stdio::from(OwnedFd::from(read))));
            drop(command);
            assert_eq!(container.line(), "read");
            assert_eq!(container.code(), Some(6));
        }
    });
}

/// A folder that is some process's working directory cannot be unmounted.
#[test]
fn init_keeps_no_working_directory_and_command_does() {
    alone_in_pid_namespace!({
        let folder = Folder::new();
        for (init, at_root) in [(SHIM, true), (Init::Tini, false), (Init::DumbInit, true)] {
            let words = ["sh", "-c", "echo $PWD; exec sleep 1000"];
            let Some(mut command) = init.command(&[], &words) else {
                continue;
            };
            let mut container = Container::start(command.current_dir(folder.path()));
            let path = folder.path().to_str().expect("a plain path");
            assert_eq!(container.line(), path);
            let cwd = || std::fs::read_link(format!("/proc/{}/cwd", container.pid()));
            if at_root {
                until("the init is in the root folder", || {
                    (cwd().ok()?.to_str()? == "/").then_some(())
                });
            } else {
                assert_eq!(cwd().expect("its folder"), folder.path());
            }
        }
    });
}

#[test]
fn end_of_a_pipe_from_outside_gives_command_the_stop_signal() {
    alone_in_pid_namespace!({
        let (read, write) = std::io::pipe().expect("a pipe");
        let script = format!("trap 'echo usr; exit 0' USR1; {WAIT}");
        let options = ["--watch=fd:9", "--stop-signal=USR1"];
        let mut command = SHIM
            .command(&options, &["bash", "-c", &script])
            .expect("the shim");
        // SAFETY: the closure makes one system call.
        unsafe {
            command.pre_exec(move || {
                if libc::dup2(read.as_raw_fd(), 9) == 9 {
                    return Ok(());
                }
                Err(std::io::Error::last_os_error())
            });
        }
        let mut container = Container::start(&mut command);
        assert_eq!(container.line(), "ready");
        drop(write);
        assert_eq!(container.line(), "usr");
        assert_eq!(container.code(), Some(0));
    });
}

/// A container's init has no parent in its namespace: a wish to watch it must not be granted in
/// silence.
#[test]
fn init_cannot_be_asked_to_watch_its_parent() {
    alone_in_pid_namespace!({
        let (code, said) = refused(SHIM, &["--watch=parent"], &["true"]).expect("the shim");
        assert_eq!(code, Some(125));
        assert!(said.contains("outside of this PID namespace"), "{said}");
    });
}

// The terminal.

fn on_terminal(init: Init, words: &[&str]) -> Option<Terminal> {
    let mut command = init.command(&[], words)?;
    Some(as_init(&mut command, Terminal::start))
}

#[test]
fn shell_on_the_containers_terminal_exits_with_its_code() {
    alone_in_pid_namespace!({
        for init in ALL {
            let Some(mut terminal) = on_terminal(init, &["sh", "-i"]) else {
                continue;
            };
            terminal.type_until("echo be\"g\"in\n", "begin");
            let status = terminal.type_and_end("exit 3\n");
            assert_eq!(status.code(), Some(3), "{init:?}");
        }
    });
}

#[test]
fn ctrl_c_on_the_containers_terminal_ends_command_with_130() {
    alone_in_pid_namespace!({
        for init in ALL {
            let script = "echo be\"g\"in; exec sleep 1000";
            let Some(mut terminal) = on_terminal(init, &["sh", "-c", script]) else {
                continue;
            };
            terminal.until("begin");
            let status = terminal.type_and_end("\x03");
            assert_eq!(status.code(), Some(130), "{init:?}");
        }
    });
}

#[test]
fn command_reads_and_writes_the_containers_terminal() {
    alone_in_pid_namespace!({
        for init in ALL {
            let Some(mut terminal) = on_terminal(init, &["tac"]) else {
                continue;
            };
            let status = terminal.type_and_end("1\n2\n3\n\x04");
            assert!(status.success(), "{init:?}");
            let screen = terminal.transcript();
            assert!(screen.ends_with("3\r\n2\r\n1\r\n"), "{init:?}: {screen:?}");
        }
    });
}

#[test]
fn shell_on_the_containers_terminal_has_job_control() {
    alone_in_pid_namespace!({
        for init in ALL {
            let Some(mut terminal) =
                on_terminal(init, &["bash", "--norc", "--noprofile", "-m", "-i"])
            else {
                continue;
            };
            terminal.type_until("echo \"flags are: [[${-//[^m]/}]]\"\n", "flags are: [[m]]");
            terminal.type_until("bash -c 'echo be\"g\"in; exec sleep 1000'\n", "begin");
            terminal.type_until("\x1a", "Stopped");
            terminal.type_until("kill %1; fg; echo e\"n\"d\n", "end");
            assert_eq!(
                terminal.type_and_end("exit 3\n").code(),
                Some(3),
                "{init:?}"
            );
        }
    });
}

/// Nobody could continue it: the init cannot stop, and no shell is above it.
#[test]
fn ctrl_z_on_the_containers_terminal_does_not_stop_command_for_ever() {
    alone_in_pid_namespace!({
        let script = "echo be\"g\"in; read line; exit 8";
        let mut terminal = on_terminal(SHIM, &["sh", "-c", script]).expect("the shim");
        terminal.until("begin");
        terminal.type_until("\x1a", "^Z");
        assert_eq!(terminal.type_and_end("\n").code(), Some(8));
    });
}

#[test]
fn hang_up_of_the_containers_terminal_ends_command() {
    alone_in_pid_namespace!({
        for init in ALL {
            let script = "echo be\"g\"in; exec sleep 1000";
            let Some(mut terminal) = on_terminal(init, &["sh", "-c", script]) else {
                continue;
            };
            terminal.until("begin");
            terminal.hang_up();
            until("nobody is left in the container", || {
                let all = proc_fs::all();
                all.iter()
                    .all(|stat| stat.pid == 1 || stat.state == 'Z')
                    .then_some(())
            });
        }
    });
}

// Many at once.

#[test]
fn storm_of_orphans_does_not_keep_the_init_from_its_grace() {
    alone_in_pid_namespace!({
        let script = "trap '' TERM; echo ready; while :; do (sleep 0 & sleep 0 &); done";
        let mut container = shim(&["--stop-timeout=200ms"], script);
        assert_eq!(container.line(), "ready");
        container.signal(Signal::TERM);
        assert_eq!(container.code(), Some(128 + libc::SIGKILL));
    });
}

#[test]
fn end_of_the_init_ends_the_container() {
    alone_in_pid_namespace!({
        let script =
            "trap '' TERM; setsid sleep 1000 & (setsid sleep 1000 &); echo ready; sleep 1000";
        let mut container = shim(&[], script);
        assert_eq!(container.line(), "ready");
        container.signal(Signal::KILL);
        container.init().wait_deadline();
        let mut left = proc_fs::all();
        left.retain(|stat| stat.pid != 1 && stat.state != 'Z');
        assert!(left.is_empty(), "{left:?}");
        // The namespace of this test is not the container's: it goes on.
        let mut program = Guard::spawn(&mut Command::new("true"));
        assert!(program.wait_deadline().success());
    });
}
