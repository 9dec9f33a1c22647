//! Hosts in other languages, the examples of watchdog-shim: the host is killed by SIGKILL, and neither its server nor what
//! the server started lives on.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use workspace_tests::installed::installed;
use workspace_tests::trees::Tree;
use workspace_tests::{Guard, until};

const SHIM: &str = env!("CARGO_BIN_EXE_shim_under_test");
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../watchdog-shim/examples");

/// Runs a host until its server has answered, and kills it.
fn host_is_killed(interpreter: &str, host: &str, args: &[&str]) {
    let tree = Tree::new();
    let mut command = Command::new(interpreter);
    command
        .arg(format!("{EXAMPLES}/{host}"))
        .arg(SHIM)
        .args(args)
        .args(["python3", &format!("{EXAMPLES}/server.py")])
        .arg(tree.folder())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut host = Guard::spawn(&mut command);
    let mut said = BufReader::new(host.stdout.take().expect("piped")).lines();
    let answer = said.next().expect("an answer").expect("read");
    assert!(answer.contains("hello"), "{answer}");
    // The host, three of the shim, the server and its worker.
    until("all of them live", || {
        (tree.living().len() >= 6).then_some(())
    });
    host.kill().expect("own child");
    host.wait_deadline();
    tree.gone();
}

#[test]
fn server_of_a_python_host_ends_with_it_by_standard_input() {
    if installed(&["python3"]) {
        host_is_killed("python3", "host.py", &["stdin"]);
    }
}

#[test]
fn server_of_a_python_host_ends_with_it_by_a_pipe_that_is_passed_on() {
    if installed(&["python3"]) {
        host_is_killed("python3", "host.py", &["fd"]);
    }
}

#[test]
fn server_of_a_node_host_ends_with_it() {
    if installed(&["python3", "node"]) {
        host_is_killed("node", "host.js", &[]);
    }
}

#[test]
fn server_of_a_shell_host_ends_with_it() {
    if installed(&["python3"]) {
        host_is_killed("sh", "host.sh", &[]);
    }
}
