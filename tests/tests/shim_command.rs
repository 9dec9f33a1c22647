//! A child of std's `Command` with the watchdog and the descriptors of a shim.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use pidfd_watcher::{Pid, Process};
use shim_spawner::{
    CommandExt as _, Guarantees, Level, PreserveFds, ShimHandler, Stage, StopPolicy, StopTarget,
};
use workspace_tests::orders::Order;
use workspace_tests::spawn_case::ends_with_its_runtime;
use workspace_tests::{alone, alone_in_pid_namespace, fd_table, proc_fs, until};

fn role(order: &Order) -> Command {
    let mut command = order.to(env!("CARGO_BIN_EXE_shim_role"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// A shim that has said that it is ready.
fn start(command: &mut Command) -> (ShimHandler, impl Iterator<Item = String> + use<>) {
    let link = command.attach(PreserveFds::new(), StopPolicy::new());
    let child = command.spawn().expect("spawn");
    let mut handler = link.expect("attach").handle(child).expect("own child");
    let lines = BufReader::new(handler.take_stdout().expect("piped")).lines();
    let mut lines = lines.map(|line| line.expect("read"));
    assert_eq!(lines.next().as_deref(), Some("ready"));
    (handler, lines)
}

fn no_children() {
    let own = std::process::id().cast_signed();
    until("reaped", || {
        proc_fs::children_of(own).is_empty().then_some(())
    });
}

#[test]
fn child_of_a_command_is_told_when_its_handler_is_dropped() {
    alone!({
        let (mut handler, _lines) = start(&mut role(&Order::BeShim));
        assert!(handler.is_attached());
        assert_eq!(handler.level(), Some(Level::Told));
        assert!(handler.guarantees().contains(Guarantees::all()));
        let _input = handler.take_stdin();
        drop(handler);
        no_children();
    });
}

#[test]
fn child_of_a_command_is_told_of_the_death_of_its_runtime() {
    alone_in_pid_namespace!({
        ends_with_its_runtime(|| {
            let (mut handler, lines) = start(&mut role(&Order::BeShim));
            let pid = handler.pid();
            (pid, (handler.take_stdin(), handler, lines))
        });
    });
}

#[test]
fn released_child_of_a_command_lives_on() {
    alone!({
        let (mut handler, mut lines) = start(&mut role(&Order::TellVerdict));
        handler.release().expect("release");
        assert_eq!(lines.next().as_deref(), Some("Released"));
        assert!(handler.stop().expect("stop").is_empty());
    });
}

#[test]
fn descriptors_are_those_of_the_plan_and_the_watchdogs_own_go_out_of_their_way() {
    alone!({
        let _stray = fd_table::file();
        let mut command = Command::new("/bin/sh");
        let list = "for n in /proc/self/fd/*; do echo ${n##*/}; done; echo $WATCHDOG_PIPE";
        command.args(["-c", list]).stdin(Stdio::null());
        command.stdout(Stdio::piped());
        let mut fds = PreserveFds::new();
        for number in [5, 49] {
            fds.map_fd(fd_table::file(), number).expect("a number");
        }
        let link = command.attach(fds, StopPolicy::new()).expect("attach");
        let mut handler = link
            .handle(command.spawn().expect("spawn"))
            .expect("own child");
        let mut said = String::new();
        let mut output = handler.take_stdout().expect("piped");
        output.read_to_string(&mut said).expect("read");
        let mut numbers: Vec<i32> = said.lines().filter_map(|line| line.parse().ok()).collect();
        // The shell's own, by which it reads the folder.
        numbers.retain(|number| !matches!(number, 3 | 4 | 10 | 11));
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 1, 2, 5, 47, 48, 49], "{said}");
        assert!(
            said.contains("fd=48,") && said.contains("sentinel=47:"),
            "{said}"
        );
        assert!(
            handler
                .wait()
                .expect("wait")
                .status
                .expect("ours")
                .success()
        );
    });
}

#[test]
fn stop_is_about_the_group_of_a_child_that_leads_one_and_else_about_the_child() {
    alone_in_pid_namespace!({
        for leads in [false, true] {
            let mut command = Command::new("/bin/sh");
            let script = "sleep 1000 & echo ready; echo $!; wait";
            command.args(["-c", script]).stdin(Stdio::null());
            command.stdout(Stdio::piped());
            if leads {
                command.process_group(0);
            }
            let (mut handler, mut lines) = start(&mut command);
            let number = lines.next().expect("a number").parse().expect("a number");
            let member = Process::open(Pid::from_raw(number).expect("a pid")).expect("alive");
            let report = handler.stop().expect("stop");
            let status = report.exit().status.expect("own child");
            assert_eq!(status.signal(), Some(libc::SIGTERM));
            let target = [StopTarget::Leader, StopTarget::Group][usize::from(leads)];
            assert_eq!(report.target(), target);
            assert_eq!(member.try_wait().expect("poll").is_some(), leads);
            let _ = member.send_signal(pidfd_watcher::Signal::KILL);
        }
    });
}

#[test]
fn command_that_has_a_plan_already_is_refused() {
    alone!({
        let mut command = Command::new("/bin/true");
        PreserveFds::new().apply(&mut command).expect("the first");
        let error = command
            .attach(PreserveFds::new(), StopPolicy::new())
            .expect_err("the second");
        assert_eq!(error.stage(), Stage::Descriptors, "{error}");
        assert!(command.get_envs().next().is_none(), "as it was");
    });
}

#[test]
fn missing_program_is_an_error_of_the_spawn_and_leaves_nothing() {
    alone!({
        drop(watchdog_pipe::channel());
        let before = proc_fs::own_fds();
        let mut command = Command::new("/no/such/program");
        let link = command.attach(PreserveFds::new(), StopPolicy::new());
        let error = command.spawn().expect_err("missing");
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
        let link = link.expect("attach");
        assert!(link.applied.explain(&error).is_none(), "not the plan's");
        drop((link, command));
        no_children();
        assert_eq!(proc_fs::own_fds(), before);
    });
}
