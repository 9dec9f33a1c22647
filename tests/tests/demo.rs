//! The demo from end to end, as a user runs it, with its failures.
//!
//! Each test gives the demo a folder of its own for temporary files: the run's folder stands in it,
//! and its path is the mark that every process of the run carries in its environment. So "nothing
//! left behind" can be asked of the file system and of /proc.

use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use workspace_tests::installed::installed;
use workspace_tests::{Folder, Guard, until};

/// A demo that has not been started yet, and the folder that has to be empty after it.
struct Demo {
    folder: Folder,
}

impl Demo {
    fn new() -> Demo {
        let folder = Folder::new();
        Demo { folder }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_demo"));
        command
            .args(args)
            .env("TMPDIR", self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("run the demo")
    }

    /// The document, and whether the exit status was 0.
    fn json(&self, args: &[&str]) -> (Value, bool) {
        let output = self.run(&[&["--json"], args].concat());
        let document = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("{error}: {output:?}");
        });
        (document, output.status.success())
    }

    fn assert_nothing_is_left(&self) {
        assert_eq!(self.folder.names(), Vec::<String>::new());
        assert_eq!(self.processes(), Vec::<i32>::new());
    }

    /// Every living process of the run.
    fn processes(&self) -> Vec<i32> {
        let mark = format!("SHIM_DEMO_RUN={}", self.folder.path().display());
        let pids = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        pids.filter(|pid| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|word| word.starts_with(mark.as_bytes()))
        })
        .collect()
    }
}

#[test]
fn runtime_killed_leaves_no_orphan_no_zombie_and_no_descriptor() {
    let demo = Demo::new();
    let (document, success) = demo.json(&["--attached", "3"]);
    assert!(success, "{document:#}");
    assert_eq!(document["ok"], true);
    for count in ["orphans", "zombies", "leaked_descriptors"] {
        assert_eq!(document[count], 0, "{count}");
    }
    let shims = document["shims"].as_array().unwrap();
    assert_eq!(shims.len(), 4);
    for shim in &shims[..3] {
        assert_eq!(shim["verdict"], "ParentExited");
        assert_eq!(shim["answer"], "HTTP/1.0 200 OK");
        let killed = document["runtime"]["killed_ns"].as_u64();
        assert!(shim["learned_ns"].as_u64() >= killed);
        assert!(shim["gone_ns"].as_u64() >= shim["learned_ns"].as_u64());
    }
    assert_eq!(shims[3]["verdict"], Value::Null);
    assert_eq!(shims[3]["answer_after_kill"], "HTTP/1.0 200 OK");
    let tree = &document["tree"];
    assert_eq!(tree["cause"], "runtime-died");
    assert_eq!(tree["good_order"], true);
    assert_eq!(tree["killed"], 1, "{tree:#}");
    assert!(tree["worker_gone_ns"].as_u64() > tree["program_gone_ns"].as_u64());
    assert!(tree["gone_ns"].is_u64(), "{tree:#}");
    assert!(document["adoption"]["stopped_ns"].is_u64(), "{document:#}");
    demo.assert_nothing_is_left();
}

#[test]
fn program_that_does_not_exist_is_named() {
    let demo = Demo::new();
    let (document, success) = demo.json(&["--program", "no-such-program"]);
    assert!(!success);
    assert!(
        document["error"]
            .as_str()
            .unwrap()
            .contains("no-such-program"),
        "{document:#}"
    );
    demo.assert_nothing_is_left();
}

#[test]
fn program_that_ends_at_once_is_told_with_its_last_words() {
    let demo = Demo::new();
    let script = "echo farewell; exit 7";
    let (document, success) = demo.json(&["--program", "sh", "-c", script]);
    assert!(!success);
    let error = document["error"].as_str().unwrap();
    assert!(
        error.contains("exit status: 7") && error.contains("farewell"),
        "{error}"
    );
    demo.assert_nothing_is_left();
}

#[test]
fn program_that_never_listens_is_an_error() {
    let demo = Demo::new();
    let output = demo.run(&["--timeout", "1", "--program", "sh", "-c", "exec sleep 1000"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("gave no answer"), "{error}");
    demo.assert_nothing_is_left();
}

#[test]
fn daemon_that_a_program_leaves_is_counted_as_an_orphan_and_ended() {
    let demo = Demo::new();
    // Listens for itself in one line of shell: only its daemon is of interest.
    let script = "setsid sleep 1000 & exec python3 -m http.server --bind 127.0.0.1 {port}";
    if !installed(&["python3", "setsid"]) {
        return;
    }
    let (document, success) = demo.json(&["--attached", "1", "--program", "sh", "-c", script]);
    assert!(!success);
    assert_eq!(document["error"], Value::Null, "{document:#}");
    // One for the attached shim's program, one for the detached shim's.
    assert_eq!(document["orphans"], 2, "{document:#}");
    demo.assert_nothing_is_left();
}

#[test]
fn demo_that_is_killed_leaves_nothing_behind() {
    let demo = Demo::new();
    let program = [
        "--timeout",
        "1000",
        "--program",
        "sh",
        "-c",
        "exec sleep 1000",
    ];
    let mut front = Guard::spawn(&mut demo.command(&program));
    // The runtime, five shims, five programs; three processes of watchdog-shim, a server, its
    // worker.
    until("all actors run", || {
        (demo.processes().len() == 16).then_some(())
    });
    front.kill().expect("own child");
    front.wait_deadline();
    until("the director has cleared up", || {
        demo.folder.names().is_empty().then_some(())
    });
    demo.assert_nothing_is_left();
}

#[test]
fn senseless_command_line_of_the_demo_ends_with_2() {
    for args in [&["--frob"][..], &["x"], &["--attached", "0"]] {
        let demo = Demo::new();
        assert_eq!(demo.run(args).status.code(), Some(2), "{args:?}");
        demo.assert_nothing_is_left();
    }
}
