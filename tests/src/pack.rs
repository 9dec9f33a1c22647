//! A shim with members of its process group, for cases about a stop.

use std::io::{BufRead, BufReader, Lines};
use std::process::ChildStdout;
use std::time::Duration;

use pidfd_watcher::{Pid, Process, Signal};
use shim_spawner::{ShimHandler, ShimSpawner, Stdio, StopPolicy, StopReport};

use crate::time_limit;

/// Short, since a member that ignores the stop signal outlives it; long enough for one that obeys.
#[must_use]
pub fn grace() -> Duration {
    time_limit() / 60
}

/// A member that ignores SIGTERM. It says what it is, and its number.
pub const STUBBORN: &str = "sh -c 'trap \"\" TERM; echo stubborn $$; exec sleep 1000' &";

/// A member that obeys.
pub const OBEDIENT: &str = "sh -c 'echo obedient $$; exec sleep 1000' &";

/// A shim with members of its group.
pub struct Pack {
    pub handler: ShimHandler,
    /// Stubborn ones first.
    pub members: Vec<Process>,
    _lines: Lines<BufReader<ChildStdout>>,
}

impl Pack {
    /// `members` are members that say their numbers, and `leader` is what the shim does then.
    pub fn start(members: &[&str], leader: &str) -> Pack {
        Pack::spawn(&mut spawner(members, leader), members.len())
    }

    pub fn spawn(spawner: &mut ShimSpawner, members: usize) -> Pack {
        let mut handler = ShimHandler::new(spawner.spawn().expect("spawn"));
        let mut lines = BufReader::new(handler.take_stdout().expect("piped")).lines();
        let said = |_| lines.next().expect("a line").expect("read");
        let mut said: Vec<String> = (0..members).map(said).collect();
        said.sort_unstable_by(|one, other| other.cmp(one));
        let member = |said: &String| {
            let number = said.rsplit(' ').next().expect("a number").parse();
            let pid = Pid::from_raw(number.expect("a number")).expect("a pid");
            Process::open(pid).expect("it lives")
        };
        let members = said.iter().map(member).collect();
        Pack {
            handler,
            members,
            _lines: lines,
        }
    }

    pub fn stop(&mut self) -> StopReport {
        self.handler.stop().expect("stop")
    }

    /// At once, without a wait: the stop came back when it was so.
    pub fn is_gone(&self) {
        for member in &self.members {
            assert!(ended(member), "{member:?} lives");
        }
    }
}

impl Drop for Pack {
    fn drop(&mut self) {
        for member in &self.members {
            let _ = member.send_signal(Signal::KILL);
        }
        let _ = self.handler.process().send_signal(Signal::KILL);
    }
}

/// The spawner of such a shim.
pub fn spawner(members: &[&str], leader: &str) -> ShimSpawner {
    let mut spawner = ShimSpawner::new("/bin/sh");
    // The trap first: whoever has read the numbers may signal the shim.
    let script = format!("trap 'exit 5' TERM; {} {leader}", members.join(" "));
    spawner
        .args(["-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stop_policy(StopPolicy::new().grace(grace()));
    spawner
}

pub fn ended(process: &Process) -> bool {
    process.try_wait().expect("poll").is_some()
}

pub fn code(report: &StopReport) -> Option<i32> {
    report.exit().status.expect("own child").code()
}

pub fn is_killed(report: &StopReport, processes: &[&Process]) {
    let mut killed: Vec<_> = report.killed().pids().iter().map(raw).collect();
    let mut expected: Vec<_> = processes
        .iter()
        .map(|process| raw(&process.pid()))
        .collect();
    killed.sort_unstable();
    expected.sort_unstable();
    assert_eq!(killed, expected, "{report:?}");
    let count = u64::try_from(processes.len()).expect("a few");
    assert_eq!(report.killed().count(), Some(count));
}

pub fn raw(pid: &Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

/// A handle on a process that ends by itself, which is waited for.
pub fn wait_end(process: &Process) {
    let ended = process.wait_timeout(time_limit()).expect("poll");
    ended.expect("before the deadline");
}
