//! The demo from end to end, as a user runs it, with its failures.
//!
//! Each test gives the demo a folder of its own for temporary files: the run's folder stands in it, and
//! its path is the mark that every process of the run carries in its environment. So "nothing left
//! behind" can be asked of the file system and of /proc.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before a test gives up: the demo may have to build its actors first.
const DEADLINE: Duration = Duration::from_secs(170);

/// A demo that has not been started yet, and the folder that has to be empty after it.
struct Demo {
    folder: PathBuf,
}

impl Demo {
    fn new(test: &str) -> Demo {
        let folder = std::env::temp_dir().join(format!("demo-{test}-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        Demo { folder }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.arg("demo").args(args).env("TMPDIR", &self.folder);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
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
        let left: Vec<_> = fs::read_dir(&self.folder).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(self.processes(), Vec::<i32>::new());
    }

    /// Every living process of the run.
    fn processes(&self) -> Vec<i32> {
        let mark = format!("SHIM_DEMO_RUN={}", self.folder.display());
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

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Kills and reaps what the test started, however it ends.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "deadline passed: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn runtime_killed_leaves_no_orphan_no_zombie_and_no_descriptor() {
    let demo = Demo::new("whole");
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
    let demo = Demo::new("missing");
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
    let demo = Demo::new("ends");
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
    let demo = Demo::new("silent");
    let output = demo.run(&["--timeout", "1", "--program", "sh", "-c", "exec sleep 1000"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("gave no answer"), "{error}");
    demo.assert_nothing_is_left();
}

#[test]
fn daemon_that_a_program_leaves_is_counted_as_an_orphan_and_ended() {
    let demo = Demo::new("daemon");
    // Listens for itself in one line of shell: only its daemon is of interest.
    let script = "setsid sleep 1000 & exec python3 -m http.server --bind 127.0.0.1 {port}";
    if Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: needs python3 and setsid as a program with a daemon");
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
    let demo = Demo::new("killed");
    let program = [
        "--timeout",
        "1000",
        "--program",
        "sh",
        "-c",
        "exec sleep 1000",
    ];
    let mut front = Guard(demo.command(&program).spawn().unwrap());
    // The runtime, five shims, five programs; three processes of watchdog-shim, a server, its worker.
    until("all actors run", || demo.processes().len() == 16);
    front.0.kill().unwrap();
    front.0.wait().unwrap();
    until("the stage has cleared up", || is_empty(&demo.folder));
    demo.assert_nothing_is_left();
}

#[test]
fn senseless_command_lines_end_with_2() {
    for args in [
        &["frobnicate"][..],
        &["demo", "--frob"],
        &["lint", "x"],
        &["stress", "0"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(args)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}
