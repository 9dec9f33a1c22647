//! Many children, watched at once and killed at once: how long until all are told and reaped, what it costs this
//! process, and what a watched child weighs. Beside a bare epoll loop, tokio::process and async-process.
//!
//! Each contender runs in a process of its own, in turns. `--quick` takes fewer children and rounds; `--children N,N`
//! and `--rounds N` choose them. A round that is not counted comes first.

use std::process::{Command, ExitCode, Stdio};

use serde::{Deserialize, Serialize};
use workspace_tests::progress::Progress;
use workspace_tests::samples::{Samples, order};

#[path = "exit_storm/contenders.rs"]
mod contenders;

/// What one contender has measured of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Figures {
    /// From the kill until all are told and reaped, in microseconds an exit.
    wall: f64,
    /// Of this process meanwhile, in microseconds an exit.
    user: f64,
    system: f64,
    /// Resident memory that came with the children, in bytes each.
    memory: f64,
}

fn main() -> anyhow::Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [role, name, children] = args.as_slice()
        && role == "contender"
    {
        let figures = contenders::run(name, children.parse()?)?;
        println!("{}", serde_json::to_string(&figures)?);
        return Ok(ExitCode::SUCCESS);
    }
    let quick = args.iter().any(|arg| arg == "--quick");
    let sizes = match value(&args, "--children") {
        Some(sizes) => sizes
            .split(',')
            .map(str::parse)
            .collect::<Result<Vec<usize>, _>>()?,
        None if quick => vec![100, 1_000],
        None => vec![100, 1_000, 3_000, 10_000],
    };
    let rounds = match value(&args, "--rounds") {
        Some(rounds) => rounds.parse()?,
        None if quick => 5,
        None => 7,
    };
    let mut all = Vec::new();
    for children in sizes {
        all.extend(measure(children, rounds)?);
    }
    Samples::save(&all, "exit_storm")?;
    Ok(ExitCode::SUCCESS)
}

fn measure(children: usize, rounds: usize) -> anyhow::Result<[Samples; 4]> {
    let (children, reason) = contenders::raise_limits(children)?;
    if let Some(reason) = reason {
        println!("no more than {children} children: {reason}");
    }
    let titled = |what: &str, unit: &str| {
        Samples::new(format!("exit storm, {children} children, {what}"), unit)
            .at("children", children as f64)
            .compare("pidfd-watcher", contenders::BARE)
    };
    let mut all = [
        titled("kill until all are told and reaped", "us/exit"),
        titled("user time", "us/exit"),
        titled("system time", "us/exit"),
        titled("resident memory", "bytes/child"),
    ];
    let mut progress = Progress::new(format!("exit storm, {children} children"), rounds + 1);
    for round in 0..=rounds {
        for place in order(round, contenders::NAMES.len()) {
            let name = contenders::NAMES[place];
            let figures = turn(name, children)?;
            if round > 0 {
                let values = [figures.wall, figures.user, figures.system, figures.memory];
                for (samples, value) in all.iter_mut().zip(values) {
                    samples.push(name, value);
                }
            }
        }
        progress.step();
    }
    drop(progress);
    all.iter().for_each(Samples::print);
    Ok(all)
}

fn turn(name: &str, children: usize) -> anyhow::Result<Figures> {
    let output = Command::new(std::env::current_exe()?)
        .args(["contender", name, &children.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    anyhow::ensure!(output.status.success(), "{name}: {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn value<'a>(args: &'a [String], name: &str) -> Option<&'a String> {
    let at = args.iter().position(|arg| arg == name)?;
    args.get(at + 1)
}
