//! `watchdog-shim`: its start, its stop by a signal, and its stop because its runtime let go, in
//! each containment.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdout, Command, Stdio};
use std::time::Duration;

use pidfd_watcher::{ChildProcess, Signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shim_spawner::{Contain, ShimHandler, ShimSpawner, StopPolicy, Supervisor};

use crate::faults::errno;
use crate::faults::role::ARM;
use crate::faults::scene::{Scenario, Scene, ended, facts, program};
use crate::faults::told::{Facts, OUTPUT, Outcome, Refusal};

pub const ALL: &[Scenario] = &[
    Scenario::new("shim-start-subreaper", |scene| start(scene, "subreaper")),
    Scenario::new("shim-start-pidns", |scene| start(scene, "pidns")),
    Scenario::new("shim-start-cgroup", |scene| start(scene, "cgroup")),
    Scenario::new("shim-start-none", |scene| start(scene, "none")),
    Scenario::new("shim-stop-subreaper", |scene| stop(scene, "subreaper")),
    Scenario::new("shim-stop-pidns", |scene| stop(scene, "pidns")),
    Scenario::new("shim-stop-cgroup", |scene| stop(scene, "cgroup")),
    Scenario::new("shim-stop-none", |scene| stop(scene, "none")),
    Scenario::new("shim-drop-subreaper", |scene| {
        let_go(scene, Contain::Subreaper)
    }),
    Scenario::new("shim-drop-pidns", |scene| {
        let_go(scene, Contain::PidNamespace)
    }),
    Scenario::new("shim-drop-cgroup", |scene| let_go(scene, Contain::Cgroup)),
    Scenario::new("shim-drop-none", |scene| let_go(scene, Contain::Nothing)),
];

/// What the first report begins with.
const STARTED: &str = r#"{"event":"started""#;

/// A shim that says nothing for so long has nothing to say.
const SILENCE: Duration = Duration::from_secs(5);

const LONG: Duration = Duration::from_secs(20);

/// A tree of three, in two sessions; its leader alone where nobody else is contained.
fn command(contain: &str) -> &'static str {
    match contain {
        "none" => "exec sleep 1000 >/dev/null",
        _ => "exec >/dev/null; setsid sleep 1000 & wait",
    }
}

/// The shim, which reports on its standard output.
struct Shim {
    process: ChildProcess,
    reports: ChildStdout,
    heard: String,
    is_silent: bool,
}

impl Shim {
    fn begin(contain: &str, arm: &str) -> Shim {
        let mut command = Command::new(program());
        command
            .arg0(watchdog_shim::NAME)
            .args(["--status-fd=1", "--stop-timeout=2s"])
            .arg(format!("--contain={contain}"))
            .args(["--", "/bin/sh", "-c", self::command(contain)])
            .env(ARM, arm)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("spawn");
        let reports = child.stdout.take().expect("piped");
        Shim {
            process: ChildProcess::new(child).expect("a handle"),
            reports,
            heard: String::new(),
            is_silent: false,
        }
    }

    /// Whether COMMAND was started.
    fn is_started(&mut self) -> bool {
        while !self.heard.contains('\n') && self.hear() {}
        self.heard.starts_with(STARTED)
    }

    /// Whether more may come. What does not come for long does not come.
    fn hear(&mut self) -> bool {
        let limit = Timespec::try_from(SILENCE).expect("a short time");
        let mut fds = [PollFd::new(&self.reports, PollFlags::IN)];
        let ready = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&limit))).expect("poll");
        if ready == 0 {
            self.is_silent = true;
            return false;
        }
        let mut bytes = [0; 1024];
        let count = self.reports.read(&mut bytes).expect("read");
        self.heard += &String::from_utf8_lossy(&bytes[..count]);
        count > 0
    }

    fn term(&self) {
        // It may have ended meanwhile.
        let _ = self.process.process().send_signal(Signal::TERM);
    }

    /// How it ended.
    fn end(&mut self) -> String {
        let exit = self.process.wait_timeout(LONG).expect("wait");
        ended(exit.expect("the shim does not end").status)
    }

    /// What it has reported, by the events' names.
    fn events(&mut self) -> String {
        while self.hear() {}
        let event = |line: &str| Some(line.split('"').nth(3)?.to_owned());
        let events: Vec<String> = self.heard.lines().filter_map(event).collect();
        events.join(" ")
    }
}

/// What a shim that ended after COMMAND was started has done.
fn told(shim: &mut Shim) -> Facts {
    let (status, events) = (shim.end(), shim.events());
    let killed = shim.heard.rsplit_once(r#""killed":"#);
    let killed = killed.and_then(|(_, rest)| rest.split('}').next());
    let killed = killed.unwrap_or("not told").to_owned();
    facts([("status", status), ("events", events), ("killed", killed)])
}

/// The shim's line on standard error, and its exit code.
fn refusal(scene: &Scene<'_>, status: &str) -> Refusal {
    let output = std::fs::read_to_string(scene.file(OUTPUT)).unwrap_or_default();
    let mut lines = output
        .lines()
        .filter(|line| line.starts_with("watchdog-shim: "));
    let line = lines.next_back().unwrap_or("watchdog-shim said nothing");
    let number = line
        .rsplit_once("(os error ")
        .and_then(|(_, rest)| rest.split(')').next());
    let number: Option<i32> = number.and_then(|number| number.parse().ok());
    let known = number.is_some_and(|number| !errno::name(number).starts_with("errno"));
    Refusal {
        what: "watchdog-shim".to_owned(),
        stage: status.to_owned(),
        errno: number.filter(|_| known),
        text: line.to_owned(),
    }
}

fn start(scene: &Scene<'_>, contain: &str) -> Outcome {
    let arm = if scene.is_armed() { "arm" } else { "no" };
    let mut shim = Shim::begin(contain, arm);
    let started = shim.is_started();
    scene.disarm();
    if !started && !shim.is_silent {
        let status = shim.end();
        return Err(refusal(scene, &status));
    }
    shim.term();
    Ok(told(&mut shim))
}

fn stop(scene: &Scene<'_>, contain: &str) -> Outcome {
    let mut shim = Shim::begin(contain, "include");
    assert!(shim.is_started(), "{:?}", shim.heard);
    scene.arm_others();
    shim.term();
    let told = told(&mut shim);
    scene.disarm();
    Ok(told)
}

fn let_go(scene: &Scene<'_>, contain: Contain) -> Outcome {
    let script = command(if contain == Contain::Nothing {
        "none"
    } else {
        ""
    });
    let shim = ShimSpawner::new("/bin/sh")
        .args(["-c", script])
        .env(ARM, "include")
        .supervised(Supervisor::this_program().contain(contain))
        .stop_policy(StopPolicy::new().grace(Duration::from_secs(2)))
        .stdin(shim_spawner::Stdio::null())
        .spawn();
    let mut handler = ShimHandler::new(shim.expect("a spawn without a fault"));
    scene.arm_others();
    drop(handler.take_keepalive());
    let exit = handler.wait_timeout(LONG).expect("wait");
    scene.disarm();
    let exit = exit.expect("the shim does not end");
    Ok(facts([("status", ended(exit.status))]))
}
