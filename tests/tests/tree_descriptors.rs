//! Who holds COMMAND's descriptors open: COMMAND alone.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

use fd_preserve::PreserveFds;
use workspace_tests::trees::Tree;
use workspace_tests::{Guard, time_limit, until};

const SHIM: &str = env!("CARGO_BIN_EXE_shim_under_test");

fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("pipe")
}

/// COMMAND says that it is ready by closing number 9, and lives on.
fn end_of_a_pipe_that_command_closes_is_seen_at_once(options: &[&str]) {
    let (read, write) = pipe();
    let mut command = Command::new(SHIM);
    command
        .args(options)
        .args(["--", "sh", "-c", "exec 9>&-; exec sleep 1000"]);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut fds = PreserveFds::new();
    fds.map_fd(write, 9).expect("a plan");
    let applied = fds.apply(&mut command).expect("apply");
    let _shim = Guard::spawn(&mut command);
    drop((command, applied));
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let mut said = Vec::new();
        let end = File::from(read).read_to_end(&mut said).map(|_| said);
        let _ = tell.send(end.expect("read"));
    });
    let said = told
        .recv_timeout(time_limit())
        .expect("the end of the pipe");
    assert!(said.is_empty());
}

#[test]
fn pipe_that_command_closes_has_no_other_writer() {
    end_of_a_pipe_that_command_closes_is_seen_at_once(&["--contain=subreaper"]);
}

/// Each choice of standard streams.
fn choices() -> impl Iterator<Item = Vec<i32>> {
    (0..8).map(|bits| (0..3).filter(|n| bits >> n & 1 == 1).collect())
}

/// For a shell: closes these.
fn closing(closed: &[i32]) -> String {
    closed.iter().map(|n| format!(" {n}>&-")).collect()
}

#[test]
fn standard_streams_that_are_closed_are_closed_for_command_too_and_cost_it_nothing() {
    for closed in choices() {
        let (read, write) = pipe();
        let command = "for n in 0 1 2; do test ! -e /proc/$$/fd/$n || echo $n >&9; done; \
                       sleep 0.1; exit 7";
        let script = format!("exec {SHIM} -- sh -c '{command}'{}", closing(&closed));
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]);
        let mut fds = PreserveFds::new();
        fds.map_fd(write, 9).expect("a plan");
        let applied = fds.apply(&mut shell).expect("apply");
        let mut shim = Guard::spawn(&mut shell);
        drop((shell, applied));
        let mut said = String::new();
        File::from(read).read_to_string(&mut said).expect("read");
        let open: Vec<i32> = said.lines().map(|n| n.parse().expect("a number")).collect();
        assert!((0..3).all(|n| open.contains(&n) != closed.contains(&n)));
        let status = shim.wait_deadline();
        assert_eq!(status.code(), Some(7), "{closed:?}: {status}");
    }
}

#[test]
fn parent_of_a_shim_without_standard_streams_is_watched() {
    for closed in choices() {
        let tree = Tree::new();
        let folder = tree.folder().display();
        let command = format!("touch {folder}/ready; while :; do sleep 0.01; done");
        let script = format!("{SHIM} -- sh -c '{command}'{} & wait", closing(&closed));
        let mut parent = Guard::spawn(Command::new("sh").args(["-c", &script]));
        tree.ready();
        // Parent, OUTER, STANDBY, INNER and COMMAND.
        until("all of them live", || {
            (tree.living().len() == 5).then_some(())
        });
        parent.kill().expect("own child");
        parent.wait_deadline();
        tree.gone();
    }
}
