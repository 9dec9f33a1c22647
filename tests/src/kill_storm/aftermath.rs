//! What is left of a runtime that was killed. This process is pid 1 of a PID namespace in which
//! nobody else is: all that is left becomes a child of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::case::Kind;
use super::successor;
use super::survivors::{Fate, Shim, shims};
use crate::fork::Fork;
use crate::proc_fs;

const LOOK_EVERY: Duration = Duration::from_micros(500);

/// What became of a case in which all was as it should be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aftermath {
    /// Who had been let go, and was found again.
    pub(super) survivors: usize,
    /// From the death to when nobody was left who should not be.
    pub(super) settled: Duration,
}

/// # Panics
/// Where not all is as it should be.
pub(super) fn look(kind: Kind, folder: &Path, killed: Instant, patience: Duration) -> Aftermath {
    let patience = Patience(Instant::now() + patience);
    if !kind.lets_go() {
        everybody_ends(&patience);
        return Aftermath {
            survivors: 0,
            settled: killed.elapsed(),
        };
    }
    let shims = until_settled(kind, folder, &patience);
    let settled = killed.elapsed();
    own_files_alone(&patience);
    let survivors = shims
        .values()
        .filter(|shim| shim.fate == Fate::Lives)
        .count();
    Fork::run(|| successor::run(shims.values())).succeeds();
    everybody_ends(&patience);
    Aftermath { survivors, settled }
}

/// Until when one looks again and again.
struct Patience(Instant);

impl Patience {
    fn wait_for(&self, what: &str) {
        let is_over = Instant::now() > self.0;
        assert!(
            !is_over,
            "deadline passed: {what}; there are {:#?}",
            others()
        );
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Reaps all children that have ended. Whether there are others.
fn reap() -> bool {
    loop {
        match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

fn everybody_ends(patience: &Patience) {
    while reap() {
        patience.wait_for("everybody has ended");
    }
    let left = others();
    assert!(left.is_empty(), "left, and no children: {left:#?}");
}

/// Waits until nobody is left but those who have been let go, who run their own programs, and those
/// below them. All who have an identity.
fn until_settled(kind: Kind, folder: &Path, patience: &Patience) -> BTreeMap<i32, Shim> {
    loop {
        reap();
        let shims = shims(kind, folder);
        let children = proc_fs::children_of(1);
        // One that was let go lives until its successor comes.
        let may_live = |pid: &i32| shims.get(pid).is_some_and(|shim| shim.fate != Fate::Ends);
        let settled = children
            .iter()
            .all(|child| !child.is_zombie() && may_live(&child.pid) && runs_own_program(child.pid));
        if settled && is_quiet() {
            return shims;
        }
        patience.wait_for("everybody has ended who was attached, and all others have an identity");
    }
}

/// Whether it has executed a program: between fork and exec, a process is a copy of the runtime.
fn runs_own_program(pid: i32) -> bool {
    let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else {
        return false;
    };
    line != fs::read("/proc/1/cmdline").expect("own command line")
}

/// Whether nobody is a zombie.
fn is_quiet() -> bool {
    proc_fs::all().iter().all(|stat| !stat.is_zombie())
}

/// Nobody who was let go, nor any program of a tree, has a file that is not its own. One that has
/// just been executed has its libraries open.
fn own_files_alone(patience: &Patience) {
    loop {
        let strays = strays();
        if strays.is_empty() {
            return;
        }
        patience.wait_for(&format!("nobody has a stray descriptor: {strays:#?}"));
    }
}

/// Descriptors beyond the standard three that are not their holder's own: a command line, and what
/// it has on which number.
fn strays() -> Vec<(String, i32, String)> {
    // The supervisors have files for the tree.
    let others = others().into_iter();
    let programs =
        others.filter(|(pid, line)| runs_own_program(*pid) && !line.contains(SUPERVISOR));
    let opened: Vec<(i32, String, i32, String)> = programs
        .flat_map(|(pid, line)| {
            let fds = proc_fs::fds_of(pid).into_iter().filter(|(fd, _)| *fd > 2);
            fds.map(move |(fd, file)| (pid, line.clone(), fd, file))
        })
        .collect();
    let is_own = |pid: i32, file: &String| match file.as_str() {
        // What the watchdog of a shim has, as long as the shim keeps it.
        "anon_inode:[eventpoll]" | "anon_inode:[eventfd]" => true,
        pipe if pipe.starts_with("pipe:") => {
            let theirs = opened
                .iter()
                .any(|(other, _, _, it)| *other != pid && it == file);
            !theirs && !proc_fs::own_fds().values().any(|own| own == file)
        }
        path => path == format!("/proc/{pid}/status"),
    };
    let strays = opened
        .iter()
        .filter(|(pid, _, _, file)| !is_own(*pid, file));
    strays
        .map(|(_, line, fd, file)| (line.clone(), *fd, file.clone()))
        .collect()
}

/// How a supervisor's command line begins, whatever its program is.
const SUPERVISOR: &str = " watchdog-shim --";

/// All processes but this one: pid and command line.
fn others() -> Vec<(i32, String)> {
    let all = proc_fs::all().into_iter().filter(|stat| stat.pid != 1);
    all.map(|stat| {
        let line = fs::read(format!("/proc/{}/cmdline", stat.pid)).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        (stat.pid, format!("{} {line}", stat.state))
    })
    .collect()
}
