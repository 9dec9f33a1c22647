//! Tracers, and whom they trace: both are gone. A tracee ends without its tracer's leave, but is
//! reaped by it first.

use std::fs;
use std::path::Path;

use workspace_tests::in_each_containment;
use workspace_tests::killings::{Program, no_matter, words};
use workspace_tests::play::{Cast, Play, Who};

const SHIM: &str = env!("CARGO_BIN_EXE_shim_under_test");
const CAST: Cast = Cast {
    shim: SHIM,
    runtime: env!("CARGO_BIN_EXE_tree_runtime"),
};

/// How many of the play are traced.
fn traced(play: &Play) -> usize {
    let is_traced = |pid: i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let tracer = status
            .lines()
            .find_map(|line| line.strip_prefix("TracerPid:\t"));
        tracer.is_some_and(|tracer| tracer != "0")
    };
    let living = play.living().into_iter();
    living.filter(|stat| is_traced(stat.pid)).count()
}

/// Nobody is left of a command in which so many are traced.
fn is_gone(contain: &'static str, tracees: usize, command: &dyn Fn(&Path) -> Vec<String>) {
    let program = Program {
        through: &[],
        options: &[],
        command,
        is_ready: &|play, folder| traced(play) >= tracees && folder.join("ready").exists(),
        ended_well: &no_matter,
    };
    program.leaves_nobody(CAST, contain, Who::survived_in(contain));
}

fn plain(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn strace(contain: &'static str) {
    is_gone(contain, 2, &|folder| {
        let script = "trap '' TERM; sleep 1000 & echo > \"$0\"/ready; wait";
        let log = folder.join("log");
        words([
            "strace",
            "-f",
            "-o",
            plain(&log),
            "sh",
            "-c",
            script,
            plain(folder),
        ])
    });
}

in_each_containment! { SHIM, &["strace"], strace:
    strace_is_gone_with_those_whom_it_has_started in "subreaper";
    strace_is_gone_from_a_cgroup_with_those_whom_it_has_started in "cgroup";
    strace_is_gone_from_a_pid_namespace_with_those_whom_it_has_started in "pidns";
}

/// gdb has stopped its child at the first instruction, and waits for another one.
fn gdb(contain: &'static str) {
    is_gone(contain, 1, &|folder| {
        let shell = format!("shell touch {}; sleep 1000", plain(&folder.join("ready")));
        words([
            "gdb", "--nx", "--batch", "-ex", "starti", "-ex", &shell, "--args", "sleep", "1000",
        ])
    });
}

in_each_containment! { SHIM, &["gdb"], gdb:
    gdb_is_gone_with_the_child_that_it_has_stopped in "subreaper";
    gdb_is_gone_from_a_cgroup_with_the_child_that_it_has_stopped in "cgroup";
    gdb_is_gone_from_a_pid_namespace_with_the_child_that_it_has_stopped in "pidns";
}

/// Tracer and tracee are children of COMMAND.
fn siblings(contain: &'static str) {
    is_gone(contain, 1, &|folder| {
        let script =
            "trap '' TERM; sleep 1000 & strace -o /dev/null -p $! & echo > \"$0\"/ready; wait";
        words(["sh", "-c", script, plain(folder)])
    });
}

in_each_containment! { SHIM, &["strace"], siblings:
    child_of_command_is_gone_with_its_sibling_that_traces_it in "subreaper";
    child_of_command_is_gone_from_a_cgroup_with_its_sibling_that_traces_it in "cgroup";
    child_of_command_is_gone_from_a_pid_namespace_with_its_sibling_that_traces_it in "pidns";
}

/// COMMAND is traced by its own child, which ignores the stop signal and holds it stopped: COMMAND
/// hears of no signal but SIGKILL.
fn tracer_below(contain: &'static str) {
    is_gone(contain, 1, &|folder| {
        let script = "trap '' TERM
            gdb --nx --batch -p $$ -ex \"shell touch '$0/ready'; sleep 1000\" & wait";
        words(["sh", "-c", script, plain(folder)])
    });
}

in_each_containment! { SHIM, &["gdb"], tracer_below:
    command_is_gone_with_its_child_that_has_stopped_it in "subreaper";
    command_is_gone_from_a_cgroup_with_its_child_that_has_stopped_it in "cgroup";
    command_is_gone_from_a_pid_namespace_with_its_child_that_has_stopped_it in "pidns";
}
