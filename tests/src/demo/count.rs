//! What was left behind, as /proc has it.

use std::path::Path;
use std::time::{Duration, Instant};

use super::document::{Count, Document};
use super::proc_fs::{self, Stat};
use super::process::Process;
use super::sweep::own_pid;

/// How long what a program had started may take to die of the SIGKILL that its shim sent.
const SETTLE: Duration = Duration::from_secs(1);

/// Counts orphans and zombies; `leaks` were found by others.
pub(super) fn count(document: &Document, run: &Path, leaks: &[String]) -> Count {
    let known = document.pids();
    let deadline = Instant::now() + SETTLE;
    let (orphans, zombies) = loop {
        reap_strangers(&known);
        let (zombies, orphans): (Vec<Stat>, Vec<Stat>) = left(run, &known)
            .into_iter()
            .partition(|stat| stat.is_zombie());
        if (zombies.is_empty() && orphans.is_empty()) || Instant::now() > deadline {
            break (orphans, zombies);
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let mut left_behind = Vec::new();
    for orphan in &orphans {
        let line = proc_fs::command_line(orphan.pid);
        left_behind.push(format!("orphan: pid {}: {line}", orphan.pid));
    }
    for zombie in &zombies {
        left_behind.push(format!(
            "zombie: pid {}, child of {}",
            zombie.pid, zombie.ppid
        ));
    }
    left_behind.extend(leaks.iter().map(|leak| format!("descriptor: {leak}")));
    Count {
        orphans: Some(orphans.len()),
        zombies: Some(zombies.len()),
        leaked_descriptors: Some(leaks.len()),
        left_behind,
    }
}

/// Every process that is of the run: by its mark, by its number, or since it came to us as an
/// orphan.
fn left(run: &Path, known: &[i32]) -> Vec<Stat> {
    let me = own_pid();
    let mark = run.to_string_lossy();
    let mut all = proc_fs::all();
    all.retain(|stat| {
        stat.pid != me
            && (stat.ppid == me || known.contains(&stat.pid) || proc_fs::is_marked(stat.pid, &mark))
    });
    all
}

/// Reaps what programs had started and did not wait for, as init would. A shim or a program of a
/// shim is not touched: it is for others to reap, and a zombie if they did not.
fn reap_strangers(known: &[i32]) {
    let me = own_pid();
    let children = proc_fs::all()
        .into_iter()
        .filter(|stat| stat.ppid == me && stat.is_zombie());
    for stat in children.filter(|stat| !known.contains(&stat.pid)) {
        if let Ok(Some(process)) = Process::open(stat.pid) {
            let _ = process.reap();
        }
    }
}
