//! Session, terminal and process group of a child: a shell on a terminal has job control, and a
//! terminal that cannot be had is an error that leaves it as it was.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;

use rustix::process::{getpgrp, setsid};
use rustix::termios::tcgetpgrp;
use shim_spawner::{ShimHandler, ShimSpawner, SpawnError, SpawnedShim, Stage, Stdio, Supervisor};
use workspace_tests::installed::installed;
use workspace_tests::spawn_case::{fails, own_pid, spawner_of};
use workspace_tests::terminal::{Screen, Terminal, VARIABLES};
use workspace_tests::{by_every_method, fd_table, proc_fs, reaped, seccomp};

/// A prompt that nothing else says.
const PROMPT: &str = "ready> ";

/// Says that it has the foreground, and that it was continued there.
const JOB: &str = "bash -c 'trap \"echo contin\\\"\\\"ued\" CONT; echo be\"g\"in; while :; do \
                   sleep 0.02; done'\n";

#[track_caller]
fn is(error: &SpawnError, stage: Stage, errno: i32) {
    let seen = (error.stage(), error.raw_os_error());
    assert_eq!(seen, (stage, Some(errno)), "{error}");
}

/// Session, controlling terminal and its foreground group: fields 6 to 8 of its line in /proc.
fn belonging(shim: &SpawnedShim) -> (i32, u64, i32) {
    let pid = shim.child.pid().as_raw_nonzero();
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let fields: Vec<&str> = line[line.rfind(')').expect("a name") + 2..]
        .split(' ')
        .collect();
    let terminal = fields[4].parse().expect("a device");
    (
        fields[3].parse().expect("a session"),
        terminal,
        fields[5].parse().expect("a group"),
    )
}

fn pid_of(shim: &SpawnedShim) -> i32 {
    shim.child.pid().as_raw_nonzero().get()
}

/// A program that waits for the end of its input, on a terminal of its own.
fn on(terminal: &OwnedFd) -> ShimSpawner {
    let mut spawner = spawner_of("/bin/cat");
    spawner
        .stdin(Stdio::piped())
        .controlling_terminal(terminal.try_clone().expect("dup"));
    spawner
}

/// The device as /proc/PID/stat has it.
fn device(terminal: impl AsFd) -> u64 {
    let device = rustix::fs::fstat(terminal).expect("fstat").st_rdev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    u64::from(major << 8 | (minor & 0xff) | (minor & !0xff) << 12)
}

by_every_method!(
    fn child_leads_the_session_and_the_foreground_of_its_terminal() {
        for detached in [false, true] {
            let (_screen, terminal) = Screen::new();
            let shim = on(&terminal).detached(detached).spawn().expect("spawn");
            let pid = pid_of(&shim);
            assert_eq!(belonging(&shim), (pid, device(&terminal), pid));
            assert_eq!(shim.keepalive.is_some(), !detached);
        }
    }
);

by_every_method!(
    /// Attached: it is told of the runtime's end all the same.
    fn attached_child_leads_a_session_of_its_own_if_so_asked() {
        let own = proc_fs::stat(own_pid()).expect("own stat");
        for session in [true, false] {
            let mut spawner = spawner_of("/bin/cat");
            let shim = spawner
                .stdin(Stdio::piped())
                .session(session)
                .spawn()
                .expect("spawn");
            let expected = if session { pid_of(&shim) } else { own.session };
            let stat = proc_fs::stat(pid_of(&shim)).expect("it lives");
            assert_eq!((stat.session, stat.pgrp), (expected, pid_of(&shim)));
            assert!(shim.keepalive.is_some());
        }
    }
);

by_every_method!(
    fn shell_on_a_terminal_has_job_control() {
        if !installed(&["bash"]) {
            return;
        }
        let mut shell = spawner_of("bash");
        plays_with_jobs(&mut shell);
    }
);

/// The supervisor leads the session, and the shell takes the foreground from it.
#[test]
fn supervised_shell_on_a_terminal_has_job_control() {
    if !installed(&["bash"]) {
        return;
    }
    let mut shell = ShimSpawner::new("bash");
    shell.supervised(Supervisor::at(env!("CARGO_BIN_EXE_shim_under_test")));
    plays_with_jobs(&mut shell);
}

fn plays_with_jobs(shell: &mut ShimSpawner) {
    let (mut screen, terminal) = Screen::new();
    let stream = || terminal.try_clone().expect("dup");
    shell
        .args(["--norc", "--noprofile", "-i"])
        .envs(VARIABLES)
        .envs([("PS1", PROMPT), ("INPUTRC", "/dev/null")])
        .env_remove("PROMPT_COMMAND")
        .ignored_signals([])
        .stdin(stream())
        .stdout(stream())
        .stderr(stream())
        .controlling_terminal(stream());
    let mut shim = ShimHandler::new(shell.spawn().expect("spawn"));
    screen.until(PROMPT);
    screen.type_until(JOB, "begin");
    screen.type_until("\x1a", "Stopped");
    screen.until(PROMPT);
    screen.type_until("fg\n", "continued");
    screen.type_until("\x03", PROMPT);
    screen.type_until("echo status $?\n", "status 130");
    screen.until(PROMPT);
    assert!(
        !screen.transcript().contains("no job control"),
        "{}",
        screen.transcript()
    );
    screen.type_until("exit 3\n", "exit");
    let exit = shim.wait().expect("wait");
    assert_eq!(exit.status.expect("own child").code(), Some(3));
}

by_every_method!(
    fn what_is_no_terminal_is_refused() {
        let mut spawner = spawner_of("/bin/true");
        spawner.controlling_terminal(fd_table::file());
        is(
            &fails("a file", &mut spawner),
            Stage::Terminal,
            libc::ENOTTY,
        );
        let mut spawner = spawner_of("/bin/true");
        spawner.foreground(fd_table::file());
        is(
            &fails("a file", &mut spawner),
            Stage::Terminal,
            libc::ENOTTY,
        );
    }
);

by_every_method!(
    /// Not even root takes it away.
    fn terminal_that_another_session_has_is_refused() {
        let (_screen, terminal) = Screen::new();
        let first = on(&terminal).spawn().expect("spawn");
        let before = belonging(&first);
        let error = on(&terminal).spawn().expect_err("taken");
        is(&error, Stage::Terminal, libc::EPERM);
        assert_eq!(belonging(&first), before);
    }
);

/// This process leads a session on a new terminal.
fn lead_a_session() -> (Screen, OwnedFd) {
    let (screen, terminal) = Screen::new();
    // The terminal is gone before this process is.
    // SAFETY: no handler.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
    setsid().expect("setsid");
    rustix::process::ioctl_tiocsctty(&terminal).expect("TIOCSCTTY");
    assert_eq!(tcgetpgrp(&terminal).expect("own terminal"), getpgrp());
    (screen, terminal)
}

fn in_front_of(terminal: &OwnedFd, program: &str) -> ShimSpawner {
    let mut spawner = spawner_of(program);
    spawner
        .stdin(Stdio::piped())
        .foreground(terminal.try_clone().expect("dup"));
    spawner
}

by_every_method!(
    /// From the foreground, and from the background, where SIGTTOU would stop this process.
    fn group_of_the_child_is_the_foreground_group_if_so_asked() {
        let (_screen, terminal) = lead_a_session();
        let mut first = in_front_of(&terminal, "/bin/cat").spawn().expect("spawn");
        let own = proc_fs::stat(own_pid()).expect("own stat");
        let foreground = || {
            tcgetpgrp(&terminal)
                .expect("own terminal")
                .as_raw_nonzero()
                .get()
        };
        assert_eq!(
            belonging(&first),
            (own.session, device(&terminal), pid_of(&first))
        );
        let second = in_front_of(&terminal, "/bin/cat").spawn().expect("spawn");
        assert_eq!(foreground(), pid_of(&second));
        // Back to the first one's group, by joining it.
        let mut third = in_front_of(&terminal, "/bin/cat");
        let third = third.process_group(pid_of(&first)).spawn().expect("spawn");
        assert_eq!(foreground(), pid_of(&first));
        drop(first.child.stdin.take());
        reaped(first.child.process());
        drop((second, third));
    }
);

by_every_method!(
    /// A group that a dead child leaves in the foreground would be nobody's.
    fn failed_spawn_gives_the_foreground_back() {
        let (_screen, terminal) = lead_a_session();
        let own = getpgrp();
        let error = fails("no program", &mut in_front_of(&terminal, "/nonexistent"));
        is(&error, Stage::Exec, libc::ENOENT);
        assert_eq!(tcgetpgrp(&terminal).expect("own terminal"), own);
        // One that was killed gives nothing back itself.
        seccomp::kill_process_at(&[libc::SYS_execve]);
        let error = fails("killed", &mut in_front_of(&terminal, "/bin/true"));
        assert_eq!(error.stage(), Stage::Exec, "{error}");
        assert_eq!(tcgetpgrp(&terminal).expect("own terminal"), own);
    }
);

by_every_method!(
    /// This process is in the background then.
    fn failed_spawn_gives_the_foreground_back_to_another_group() {
        let (_screen, terminal) = lead_a_session();
        let mut first = in_front_of(&terminal, "/bin/cat").spawn().expect("spawn");
        let error = in_front_of(&terminal, "/nonexistent")
            .spawn()
            .expect_err("no program");
        is(&error, Stage::Exec, libc::ENOENT);
        let foreground = tcgetpgrp(&terminal).expect("own terminal");
        assert_eq!(foreground, first.child.pid());
        drop(first.child.stdin.take());
        reaped(first.child.process());
    }
);

by_every_method!(
    fn foreground_of_a_terminal_that_is_not_this_sessions_is_refused() {
        let (_screen, terminal) = Screen::new();
        let error = fails("not ours", &mut in_front_of(&terminal, "/bin/true"));
        is(&error, Stage::Terminal, libc::ENOTTY);
    }
);

by_every_method!(
    fn session_of_its_own_has_no_part_in_this_one() {
        seccomp::kill_process_at(&[libc::SYS_clone3, libc::SYS_clone, libc::SYS_vfork]);
        let (_screen, terminal) = Screen::new();
        type Spoil = fn(&mut ShimSpawner, OwnedFd) -> &mut ShimSpawner;
        let cases: [(&str, Spoil); 6] = [
            ("session and group", |s, _| s.session(true).process_group(1)),
            ("terminal and group", |s, t| {
                s.controlling_terminal(t).process_group(1)
            }),
            ("session and foreground", |s, t| {
                s.session(true).foreground(t)
            }),
            ("detached and foreground", |s, t| {
                s.detached(true).foreground(t)
            }),
            ("negative group", |s, _| s.process_group(-1)),
            ("terminal and foreground", |s, t| {
                let again = t.try_clone().expect("dup");
                s.controlling_terminal(t).foreground(again)
            }),
        ];
        for (what, spoil) in cases {
            let mut spawner = spawner_of("/bin/true");
            let error = spoil(&mut spawner, terminal.try_clone().expect("dup")).spawn();
            let error = error.expect_err(what);
            assert_eq!(error.stage(), Stage::Arguments, "{what}: {error}");
        }
    }
);

/// What is on the screen is the same with the example between and without it.
#[test]
fn example_gives_a_shell_a_terminal_with_job_control() {
    if !installed(&["bash"]) {
        return;
    }
    let screens = [None, Some(env!("CARGO_BIN_EXE_pty"))].map(|example| {
        let mut command = Command::new(example.unwrap_or("bash"));
        if example.is_some() {
            command.arg("bash");
        }
        command
            .args(["--norc", "--noprofile", "-i"])
            .envs([("PS1", PROMPT), ("INPUTRC", "/dev/null")])
            .env_remove("PROMPT_COMMAND");
        let mut terminal = Terminal::start(&mut command);
        // It has the terminal open, which ends when nobody has.
        drop(command);
        terminal.until(PROMPT);
        terminal.type_until("bind 'set enable-bracketed-paste off'\n", PROMPT);
        terminal.type_until(JOB, "begin");
        terminal.type_until("\x1a", "Stopped");
        terminal.until(PROMPT);
        terminal.type_until("fg\n", "continued");
        terminal.type_until("\x03", PROMPT);
        let status = terminal.type_and_end("exit 3\n");
        assert_eq!(status.code(), Some(3));
        terminal.transcript()
    });
    assert_eq!(screens[0], screens[1]);
}
