//! How the tree is stopped: by whom, by which signal and after how long, also when COMMAND has
//! ended and when another process of the shim has taken over.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use pidfd_watcher::Signal;
use workspace_tests::orders::{Link, Order};
use workspace_tests::play::{Who, can, find};
use workspace_tests::trees::Tree;
use workspace_tests::{Guard, until};

const SHIM: &str = env!("CARGO_BIN_EXE_shim_under_test");
const HOSTILE: &str = env!("CARGO_BIN_EXE_hostile_tree");
const RUNTIME: &str = env!("CARGO_BIN_EXE_tree_runtime");

/// COMMAND ends at once and leaves one process in its group that writes a file when it is asked to
/// stop. Returns whether it was asked.
fn orphan_is_asked(signal_to: &str) -> bool {
    let tree = Tree::new();
    let folder = tree.folder().display();
    let orphan = format!(
        "trap 'touch {folder}/term; exit 0' TERM; touch {folder}/trapped; while :; do sleep 0.01; \
         done"
    );
    let leader =
        format!("sh -c \"{orphan}\" & until test -e {folder}/trapped; do sleep 0.01; done");
    let status = Command::new(SHIM)
        .arg(format!("--signal-to={signal_to}"))
        .args(["--stop-timeout=500ms", "--", "sh", "-c", &leader])
        .stdin(Stdio::null())
        .status()
        .expect("run the shim");
    assert!(status.success(), "{status}");
    assert!(tree.living().is_empty());
    tree.has("term")
}

#[test]
fn group_of_command_is_asked_to_stop_after_command_has_ended() {
    assert!(orphan_is_asked("group"));
}

#[test]
fn whole_tree_is_asked_to_stop_after_command_has_ended() {
    assert!(orphan_is_asked("all"));
}

#[test]
fn nobody_but_command_is_asked_where_command_alone_is_meant() {
    assert!(!orphan_is_asked("main"));
}

/// The line that says why and how the tree is stopped, when these were killed under a runtime whose
/// policy is a grace period of 321 ms.
fn stopping_after(contain: &str, who: &[Who]) -> String {
    let tree = Tree::new();
    let folder = tree.folder().to_owned();
    let leader = Order::HostileTree { folder }.argument();
    // The spawner closes what it was not told of: a file that the shim opens anew is not among it.
    let report = tree.folder().join("report");
    let script = format!("exec \"$@\" 7>>{}", report.display());
    let status = "--status-fd=7";
    let option = format!("--contain={contain}");
    let words = [
        "sh", "-c", &script, "sh", SHIM, &option, status, "--", HOSTILE, &leader,
    ];
    let order = Order::Runtime {
        command: words.map(str::to_owned).to_vec(),
        link: Link::Watchdog,
        grace: Duration::from_millis(321),
    };
    let mut command = order.to(RUNTIME);
    let runtime = Guard::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()));
    tree.ready();
    let runtime = i32::try_from(runtime.id()).expect("a pid");
    for process in find(runtime, who, contain) {
        process.send_signal(Signal::KILL).expect("it lives");
    }
    until("the stop is reported", || {
        let lines = fs::read_to_string(&report).ok()?;
        let line = lines.lines().find(|line| line.contains("stopping"))?;
        line.ends_with('}').then(|| line.to_owned())
    })
}

#[test]
fn grace_period_of_the_runtime_holds_for_whoever_takes_over() {
    for who in [&[Who::Inner][..], &[Who::Standby, Who::Inner]] {
        let line = stopping_after("subreaper", who);
        assert!(line.contains(r#""grace_ms":321"#), "{who:?}: {line}");
        // INNER may see STANDBY's end before its own.
        let is_cause =
            line.contains("inner-died") || line.contains("standby-died") && who.len() == 2;
        assert!(is_cause, "{who:?}: {line}");
    }
}

/// The kernel has killed all of them by then.
#[test]
fn no_grace_is_reported_where_the_namespace_has_ended_with_inner() {
    if can(SHIM, "pidns") {
        let line = stopping_after("pidns", &[Who::Inner]);
        assert!(line.contains(r#""grace_ms":0"#), "{line}");
    }
}
