//! COMMAND on a terminal: what is on the screen is the same with the shim and without it.

use std::process::Command;

use workspace_tests::terminal::Terminal;

const SHIM: &str = env!("CARGO_BIN_EXE_shim_under_test");

/// A prompt that nothing else says.
const PROMPT: &str = "ready> ";

/// Says that it has the foreground, and stays there.
const PROGRAM: &str = "sh -c 'echo be\"g\"in; exec sleep 1000'\n";

/// Says besides that it was continued: it has the foreground by then.
const CONTINUES: &str = "bash -c 'trap \"echo contin\\\"\\\"ued\" CONT; echo be\"g\"in; while :; \
                         do sleep 0.02; done'\n";

/// An interactive shell, itself under the shim or not.
fn shell(under_the_shim: bool) -> Terminal {
    let mut command = if under_the_shim {
        let mut command = Command::new(SHIM);
        command.args(["--", "bash"]);
        command
    } else {
        Command::new("bash")
    };
    command
        .args(["--norc", "--noprofile", "-i"])
        .env("PS1", PROMPT)
        .env_remove("PROMPT_COMMAND")
        // Without the marks of a pasted text, which a shell prints when it likes.
        .env("INPUTRC", "/dev/null");
    let mut terminal = Terminal::start(&mut command);
    terminal.until(PROMPT);
    terminal.type_until("bind 'set enable-bracketed-paste off'\n", PROMPT);
    terminal
}

/// Runs the same on a terminal of its own with and without the shim.
#[track_caller]
fn same(play: impl Fn(&mut Terminal)) {
    let screens = [false, true].map(|under_the_shim| {
        let mut terminal = shell(under_the_shim);
        play(&mut terminal);
        let status = terminal.type_and_end("exit 3\n");
        assert_eq!(status.code(), Some(3));
        terminal.transcript()
    });
    assert_eq!(screens[0], screens[1]);
}

fn installed(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", &format!("command -v {program}")])
        .output()
        .is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

#[test]
fn ctrl_c_ends_what_the_shell_runs_and_not_the_shell() {
    same(|terminal| {
        terminal.type_until(PROGRAM, "begin");
        terminal.type_until("\x03", PROMPT);
        terminal.type_until("echo $?\n", "130");
        terminal.until(PROMPT);
    });
}

#[test]
fn ctrl_z_and_fg_work_in_the_shell() {
    same(|terminal| {
        terminal.type_until(CONTINUES, "begin");
        terminal.type_until("\x1a", "Stopped");
        terminal.until(PROMPT);
        terminal.type_until("fg\n", "continued");
        terminal.type_until("\x03", PROMPT);
    });
}

#[test]
fn less_shows_a_file_and_quits() {
    if !installed("less") {
        return;
    }
    same(|terminal| {
        terminal.type_until("seq 100 | less\n", "\n23\r\n");
        terminal.type_until("q", PROMPT);
    });
}

#[test]
fn vim_opens_writes_and_quits() {
    if !installed("vim") {
        return;
    }
    same(|terminal| {
        terminal.type_until(
            "vim -u NONE -i NONE -n --cmd 'set shortmess+=I'\n",
            "\x1b[1;1H",
        );
        terminal.type_until("ihello\x1b", "hello");
        terminal.type_until(":q!\n", PROMPT);
    });
}

#[test]
fn job_that_is_the_shim_is_stopped_and_continued_by_the_shell_that_started_it() {
    let mut terminal = shell(false);
    let job = format!("{SHIM} -- {CONTINUES}");
    terminal.type_until(&job, "begin");
    terminal.type_until("\x1a", "Stopped");
    terminal.until(PROMPT);
    // Continued in the foreground, and ended there as sleep itself would be.
    terminal.type_until("fg\n", "continued");
    terminal.type_until("\x03", PROMPT);
    let told = terminal.transcript().matches("\ncontinued").count();
    assert_eq!(told, 1, "{}", terminal.transcript());
    terminal.type_until("echo status $?\n", "status 130");
    terminal.until(PROMPT);
    assert!(terminal.type_and_end("exit\n").success());
}

#[test]
fn command_reads_and_writes_the_terminal_as_part_of_a_pipeline() {
    let mut terminal = shell(false);
    // It says that it has the terminal: what is typed before that meets the shell's own editing of
    // the line.
    let pipeline = format!("{SHIM} -- sh -c 'echo be\"g\"in >&2; cat' | tr a-z A-Z\n");
    terminal.type_until(&pipeline, "begin");
    terminal.type_until("hello\n", "hello\r\n");
    terminal.type_until("\x04", "HELLO");
    terminal.until(PROMPT);
    assert!(terminal.type_and_end("exit\n").success());
}

#[test]
fn hang_up_of_the_terminal_ends_the_tree() {
    let mut command = Command::new(SHIM);
    command.args(["--", "sh", "-c", "echo be\"g\"in; sleep 1000"]);
    let mut terminal = Terminal::start(&mut command);
    terminal.until("begin");
    let pid = rustix::process::Pid::from_raw(i32::try_from(terminal.pid()).expect("a pid"));
    let shim = pidfd_watcher::Process::open(pid.expect("a pid")).expect("own child");
    terminal.hang_up();
    let ended = shim
        .wait_timeout(workspace_tests::time_limit())
        .expect("wait");
    assert!(ended.is_some(), "the shim lives on without its terminal");
}
