//! A program under the shim, and who of those above it is killed.

use std::process::{Command, Stdio};
use std::time::Duration;

use pidfd_watcher::{Process, Signal};
use rustix::process::Pid;

use crate::orders::{Link, Order};
use crate::proc_fs::{self, Stat};
use crate::{Guard, until};

/// A process above COMMAND.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Runtime,
    Outer,
    Standby,
    Inner,
}

impl Who {
    /// Each of runtime, OUTER and INNER, and every two of them: every containment survives that.
    pub const UP_TO_TWO: &[&[Who]] = &[
        &[Who::Runtime],
        &[Who::Outer],
        &[Who::Inner],
        &[Who::Runtime, Who::Outer],
        &[Who::Runtime, Who::Inner],
        &[Who::Outer, Who::Inner],
    ];

    /// All three: only where the kernel ends the tree.
    pub const ALL_THREE: &[Who] = &[Who::Runtime, Who::Outer, Who::Inner];

    /// Whom a tree in that containment survives: [`Who::UP_TO_TWO`], and in a PID namespace all
    /// three.
    pub fn survived_in(contain: &str) -> impl Iterator<Item = &'static [Who]> {
        let all_three = (contain == "pidns").then_some(Who::ALL_THREE);
        Who::UP_TO_TWO.iter().copied().chain(all_three)
    }

    /// Whether somebody is left who sends the stop signal. In a PID namespace INNER's end is the
    /// kernel's SIGKILL to all.
    #[must_use]
    pub fn leaves_good_order(who: &[Who], contain: &str) -> bool {
        contain != "pidns" || !who.contains(&Who::Inner)
    }
}

/// Handles on those of `who` who exist by now, below this runtime.
#[must_use]
pub fn find(runtime: i32, who: &[Who], contain: &str) -> Vec<Process> {
    find_below(runtime, first_child(runtime), who, contain)
}

fn first_child(pid: i32) -> Option<i32> {
    Some(proc_fs::children_of(pid).first()?.pid)
}

fn find_below(runtime: i32, outer: Option<i32>, who: &[Who], contain: &str) -> Vec<Process> {
    let below = |pid: Option<i32>| first_child(pid?);
    let (standby, inner) = match contain {
        "pidns" => (None, below(outer)),
        _ => (below(outer), below(below(outer))),
    };
    let number = |who: &Who| match who {
        Who::Runtime => Some(runtime),
        Who::Outer => outer,
        Who::Standby => standby,
        Who::Inner => inner,
    };
    let numbers = who.iter().filter_map(number);
    numbers
        .filter_map(|pid| Process::open(Pid::from_raw(pid)?).ok())
        .collect()
}

/// Prints why not, where this machine has no such containment. `shim` is the shim's executable.
#[must_use]
pub fn can(shim: &str, contain: &str) -> bool {
    can_through(&[], shim, contain)
}

/// The same by way of programs that execute what follows them on the command line.
#[must_use]
pub fn can_through(through: &[&str], shim: &str, contain: &str) -> bool {
    let contained = format!("--contain={contain}");
    let words = [through, &[shim, "--print-plan", &contained]].concat();
    let plan = Command::new(words[0])
        .args(&words[1..])
        .output()
        .expect("run the shim");
    if !plan.status.success() {
        let reason = String::from_utf8_lossy(&plan.stderr);
        eprintln!("skipped: {}", reason.trim());
    }
    plan.status.success()
}

/// A runtime that has started a program under the shim. The test is pid 1 of a PID namespace of its
/// own ([`alone_in_pid_namespace!`](crate::alone_in_pid_namespace)): everybody else in it belongs
/// to the play, whatever name it gives itself, and nobody who escapes is overlooked.
#[derive(Debug)]
pub struct Play {
    runtime: Guard,
    shim: &'static str,
    contain: &'static str,
}

/// The executables of a play. Only an integration test knows their paths.
#[derive(Clone, Copy, Debug)]
pub struct Cast {
    /// `shim_under_test`.
    pub shim: &'static str,
    /// `tree_runtime`.
    pub runtime: &'static str,
}

impl Play {
    /// Starts `tree_runtime`, which starts the shim with these options and this command.
    #[must_use]
    pub fn begin(
        cast: Cast,
        contain: &'static str,
        options: &[&str],
        command: &[&str],
        grace: Duration,
    ) -> Play {
        Play::begin_through(&[], cast, contain, options, command, grace)
    }

    /// The same by way of programs that execute what follows them on the command line.
    #[must_use]
    pub fn begin_through(
        through: &[&str],
        cast: Cast,
        contain: &'static str,
        options: &[&str],
        command: &[&str],
        grace: Duration,
    ) -> Play {
        let contained = format!("--contain={contain}");
        let shim = &[cast.shim, contained.as_str()];
        let words = [through, shim, options, &["--"], command].concat();
        let order = Order::Runtime {
            command: words.iter().map(|word| (*word).to_owned()).collect(),
            link: Link::Watchdog,
            grace,
        };
        let mut command = order.to(cast.runtime);
        let runtime = Guard::spawn(command.stdin(Stdio::null()).stdout(Stdio::null()));
        Play {
            runtime,
            shim: cast.shim,
            contain,
        }
    }

    fn runtime(&self) -> i32 {
        i32::try_from(self.runtime.id()).expect("a pid")
    }

    /// The uppermost process below the runtime that executes the shim.
    fn outer(&self) -> Option<i32> {
        let mut pid = first_child(self.runtime())?;
        while command_line(pid).first().map(String::as_str) != Some(self.shim) {
            pid = first_child(pid)?;
        }
        Some(pid)
    }

    /// SIGKILL to all of these, who must live.
    pub fn kill(&self, who: &[Who]) {
        let found = until("all who are to be killed live", || {
            let found = find_below(self.runtime(), self.outer(), who, self.contain);
            (found.len() == who.len()).then_some(found)
        });
        for process in found {
            // The kernel may have killed it meanwhile, with its PID namespace.
            let _ = process.send_signal(Signal::KILL);
        }
    }

    /// Everybody who lives in this namespace but this process and the runtime; zombies are not
    /// counted.
    #[must_use]
    pub fn living(&self) -> Vec<Stat> {
        let own = i32::try_from(std::process::id()).expect("a pid");
        let mut all = proc_fs::all();
        all.retain(|stat| {
            !matches!(stat.state, 'Z' | 'X') && ![own, self.runtime()].contains(&stat.pid)
        });
        all
    }

    /// Those who live and whose program has this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Vec<Stat> {
        let mut all = self.living();
        all.retain(|stat| {
            std::fs::read_to_string(format!("/proc/{}/comm", stat.pid))
                .is_ok_and(|comm| comm.trim_end() == name)
        });
        all
    }

    /// Those who live and have this in their command lines. A program may have made one word of
    /// all.
    #[must_use]
    pub fn with_argument(&self, argument: &str) -> Vec<Stat> {
        let mut all = self.living();
        all.retain(|stat| {
            command_line(stat.pid)
                .iter()
                .any(|word| word.contains(argument))
        });
        all
    }

    /// Waits until nobody is left.
    ///
    /// # Panics
    /// After [`time_limit`](crate::time_limit), with the command lines of those who are left.
    pub fn gone(&self) {
        let deadline = std::time::Instant::now() + crate::time_limit();
        loop {
            let left = self.living();
            if left.is_empty() {
                return;
            }
            let names = || -> Vec<String> {
                let line = |stat: &Stat| command_line(stat.pid).join(" ");
                left.iter().map(line).collect()
            };
            assert!(std::time::Instant::now() < deadline, "left: {:?}", names());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// The words with which a process was executed; none where it is gone.
fn command_line(pid: i32) -> Vec<String> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&line);
    text.split_terminator('\0').map(str::to_owned).collect()
}
