//! Many children, watched at once and killed at once: how long until all are told and reaped, what
//! it costs this process, and what a watched child weighs. Beside a bare epoll loop, tokio::process
//! and async-process.
//!
//! Each contender runs in a process of its own, in turns. `--quick` takes fewer children and
//! rounds; `--children N,N` and `--rounds N` choose them. A round that is not counted comes first
//! of all. The user time, what is ours of all that, is sampled in turns of its own, with the most
//! children.

use std::process::{Command, ExitCode, Stdio};

use serde::{Deserialize, Serialize};
use workspace_tests::progress::Progress;
use workspace_tests::samples::{Samples, order};

#[path = "exit_storm/contenders.rs"]
mod contenders;
#[path = "exit_storm/user_time.rs"]
mod user_time;

/// What one contender has measured of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Figures {
    /// From the kill until all are told and reaped, in microseconds an exit.
    wall: f64,
    /// Of this process meanwhile, in microseconds an exit.
    cpu: f64,
    /// The part of it that is not the kernel's, where it was sampled.
    user: Option<f64>,
    /// Resident memory that came with the children, in bytes each.
    memory: f64,
}

/// Children of the turns that are not counted: few enough for any limit, which is raised only
/// afterwards.
const WARM_UP: usize = 100;

fn main() -> anyhow::Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [role, name, children] = args.as_slice()
        && (role == "contender" || role == "sampled")
    {
        let figures = contenders::run(name, children.parse()?, role == "sampled")?;
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
    let rounds: Option<usize> = value(&args, "--rounds")
        .map(|rounds| rounds.parse())
        .transpose()?;
    let rounds = |children| {
        rounds.unwrap_or(match children {
            _ if quick => 5,
            0..=1_000 => 7,
            1_001..=5_000 => 5,
            // To start so many takes half a minute.
            _ => 3,
        })
    };
    for name in contenders::NAMES {
        turn("contender", name, WARM_UP)?;
    }
    let most = sizes.iter().max().copied();
    let mut all = Vec::new();
    for children in sizes {
        all.extend(measure(children, rounds(children), most == Some(children))?);
    }
    Samples::save(&all, "exit_storm")?;
    Ok(ExitCode::SUCCESS)
}

fn measure(children: usize, rounds: usize, sampled: bool) -> anyhow::Result<Vec<Samples>> {
    let (children, reason) = contenders::raise_limits(children)?;
    if let Some(reason) = reason {
        println!("no more than {children} children: {reason}");
    }
    let sampled = sampled && sampling_works();
    let titled = |what: &str, unit: &str| {
        Samples::new(format!("exit storm, {children} children, {what}"), unit)
            .at("children", children as f64)
            .compare("pidfd-watcher", contenders::BARE)
    };
    let [mut wall, mut cpu, mut memory, mut user] = [
        titled("kill until all are told and reaped", "us/exit"),
        titled("processor time", "us/exit"),
        titled("resident memory", "bytes/child"),
        titled("user time", "us/exit"),
    ];
    let mut progress = Progress::new(format!("exit storm, {children} children"), rounds);
    for round in 0..rounds {
        for place in order(round, contenders::NAMES.len()) {
            let name = contenders::NAMES[place];
            let figures = turn("contender", name, children)?;
            wall.push(name, figures.wall);
            cpu.push(name, figures.cpu);
            memory.push(name, figures.memory);
            if sampled && let Some(sample) = turn("sampled", name, children)?.user {
                user.push(name, sample);
            }
        }
        progress.step();
    }
    drop(progress);
    let mut all = vec![wall, cpu, memory];
    all.extend(sampled.then_some(user));
    all.iter().for_each(Samples::print);
    Ok(all)
}

/// Says why not.
fn sampling_works() -> bool {
    match user_time::UserTime::new() {
        Ok(_) => true,
        Err(error) => {
            println!("no user time: perf_event_open: {error}");
            false
        }
    }
}

fn turn(role: &str, name: &str, children: usize) -> anyhow::Result<Figures> {
    let output = Command::new(std::env::current_exe()?)
        .args([role, name, &children.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    anyhow::ensure!(output.status.success(), "{name}: {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn value<'a>(args: &'a [String], name: &str) -> Option<&'a String> {
    let at = args.iter().position(|arg| arg == name)?;
    args.get(at + 1)
}
