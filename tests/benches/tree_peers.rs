//! The hostile tree under everything that is put between a runtime and a program, ours among it:
//! the runtime is killed, and two seconds afterwards is counted who of the seven is left. Prints a
//! Markdown table.
//!
//! `cargo xtask peers` runs it. Every trial has a PID namespace of its own, which takes root.
//! `--rounds N`: trials of those for whom there is something to time, 25; the others have three.
//! `--page FILE`: writes the table there too, with what a reader of it alone needs.

use std::io::{Read, Write, pipe};
use std::process::ExitCode;
use std::time::Duration;

use workspace_tests::fork::Fork;
use workspace_tests::peers::{Cast, Outcome, Peer};
use workspace_tests::progress::Progress;
use workspace_tests::samples::{Row, order};
use workspace_tests::{namespace, signals};

#[path = "tree_peers/page.rs"]
mod page;
#[path = "tree_peers/processkit.rs"]
mod processkit;
use crate::processkit::PROCESSKIT;

const CAST: Cast = Cast {
    shim: env!("CARGO_BIN_EXE_shim_under_test"),
    runtime: env!("CARGO_BIN_EXE_tree_runtime"),
    hostile: env!("CARGO_BIN_EXE_hostile_tree"),
};

/// Enough to see that a count does not change.
const COUNTED: usize = 3;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let value = |name| args.iter().skip_while(move |arg| *arg != name).nth(1);
    let rounds = value("--rounds").map_or(25, |rounds| rounds.parse().expect("a number"));
    signals::default_actions();
    let mut peers = Peer::all();
    let ours = peers.iter().position(Peer::is_ours).unwrap_or(peers.len());
    peers.insert(ours, PROCESSKIT);
    peers.retain(|peer| match peer.is_missing(CAST) {
        Some(reason) => {
            eprintln!("skipped: {}: {reason}", peer.name);
            false
        }
        None => true,
    });
    let mut found: Vec<Vec<Outcome>> = peers.iter().map(|_| Vec::new()).collect();
    let mut progress = Progress::new("hostile trees", rounds);
    for round in 0..rounds {
        for turn in order(round, peers.len()) {
            let outcomes = &mut found[turn];
            if round >= COUNTED.min(rounds) && outcomes.iter().all(is_untimed) {
                continue;
            }
            let Some(outcome) = in_namespace(&peers[turn]) else {
                eprintln!("tree_peers: needs PID namespaces, which take root");
                return ExitCode::FAILURE;
            };
            outcomes.push(outcome);
        }
        progress.step();
    }
    drop(progress);
    let (rows, versions) = (rows(&peers, &found), versions(&peers));
    println!("{rows}\n\n{versions}");
    if let Some(file) = value("--page") {
        std::fs::write(file, page::page(&rows, &versions)).expect("write the page");
        println!("\nwritten: {file}");
    }
    ExitCode::SUCCESS
}

fn is_untimed(outcome: &Outcome) -> bool {
    outcome.handler.is_none() && outcome.gone.is_none()
}

/// A trial in a PID namespace of its own; `None` where there is none to be had.
fn in_namespace(peer: &Peer) -> Option<Outcome> {
    let (mut outcome, tell) = pipe().expect("a pipe");
    let copy = Fork::run(|| {
        // SAFETY: a plain number; this copy has one thread.
        if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
            return;
        }
        Fork::run(|| {
            if namespace::unshare_mounts() {
                namespace::mount_proc();
                let outcome = serde_json::to_vec(&peer.trial(CAST)).expect("JSON");
                (&tell).write_all(&outcome).expect("tell the outcome");
            }
        })
        .succeeds();
    });
    drop(tell);
    copy.succeeds();
    let mut json = Vec::new();
    outcome.read_to_end(&mut json).expect("the outcome");
    serde_json::from_slice(&json).ok()
}

/// The table.
fn rows(peers: &[Peer], found: &[Vec<Outcome>]) -> String {
    let head = [
        "| between the runtime and COMMAND | left of seven | TERM handler ran | until it ran | \
         until nobody is left | n |",
        "|---|---:|---|---:|---:|---:|",
    ];
    let rows = peers.iter().zip(found);
    let rows = rows.map(|(peer, outcomes)| line(peer, outcomes));
    let lines: Vec<String> = head.map(str::to_owned).into_iter().chain(rows).collect();
    lines.join("\n")
}

/// Each once.
fn versions(peers: &[Peer]) -> String {
    let mut lines = Vec::new();
    for version in peers.iter().filter_map(Peer::version) {
        let line = format!("- {version}");
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines.join("\n")
}

fn line(peer: &Peer, outcomes: &[Outcome]) -> String {
    let count = outcomes.len();
    let mut left: Vec<usize> = outcomes.iter().map(|outcome| outcome.left).collect();
    left.sort_unstable();
    let left = match (left.first(), left.last()) {
        (Some(least), Some(most)) if least != most => format!("{least} to {most}"),
        (_, most) => most.map_or_else(String::new, usize::to_string),
    };
    let ran = outcomes.iter().filter(|outcome| outcome.handler.is_some());
    let ran = match ran.count() {
        0 => "no".to_owned(),
        ran if ran == count => "yes".to_owned(),
        ran => format!("in {ran} of {count}"),
    };
    let handler = median(outcomes.iter().filter_map(|outcome| outcome.handler));
    let gone = median(outcomes.iter().filter_map(|outcome| outcome.gone));
    let (name, code) = (
        peer.name,
        if peer.version().is_some() || peer.name.contains("=") {
            "`"
        } else {
            ""
        },
    );
    format!("| {code}{name}{code} | {left} | {ran} | {handler} | {gone} | {count} |")
}

fn median(times: impl Iterator<Item = Duration>) -> String {
    let samples: Vec<f64> = times.map(|time| time.as_secs_f64() * 1e3).collect();
    if samples.is_empty() {
        return "-".to_owned();
    }
    let name = String::new();
    let median = Row { name, samples }.median();
    format!("{median:.2} ms")
}
