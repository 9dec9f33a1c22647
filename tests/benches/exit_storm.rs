//! Many children, watched at once and killed at once: how long until all are told and reaped, what it costs this
//! process, and what a watched child weighs. Beside a bare epoll loop, tokio::process and async-process.
//!
//! Each contender runs in a process of its own, in turns. `--quick` takes fewer children and rounds; `--children N`
//! and `--rounds N` choose them.

use std::process::{Command, ExitCode, Stdio};

use serde::{Deserialize, Serialize};
use workspace_tests::samples::Samples;

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
    let children = option(&args, "--children").unwrap_or(if quick { 1_000 } else { 10_000 });
    let rounds = option(&args, "--rounds").unwrap_or(if quick { 3 } else { 7 });
    let (children, reason) = contenders::raise_limits(children)?;
    if let Some(reason) = reason {
        println!("no more than {children} children: {reason}");
    }
    let titled = |what: &str, unit: &str| {
        Samples::new(format!("exit storm, {children} children, {what}"), unit)
    };
    let mut wall = titled("kill until all are told and reaped", "us/exit");
    let mut user = titled("user time", "us/exit");
    let mut system = titled("system time", "us/exit");
    let mut memory = titled("resident memory", "bytes/child");
    for _ in 0..rounds {
        for name in contenders::NAMES {
            let figures = turn(name, children)?;
            wall.push(name, figures.wall);
            user.push(name, figures.user);
            system.push(name, figures.system);
            memory.push(name, figures.memory);
        }
    }
    let all = [wall, user, system, memory];
    for samples in &all {
        samples.print(contenders::BARE);
    }
    Samples::save(&all, "exit_storm")?;
    Ok(ExitCode::SUCCESS)
}

fn turn(name: &str, children: usize) -> anyhow::Result<Figures> {
    let output = Command::new(std::env::current_exe()?)
        .args(["contender", name, &children.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    anyhow::ensure!(output.status.success(), "{name}: {}", output.status);
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn option(args: &[String], name: &str) -> Option<usize> {
    let at = args.iter().position(|arg| arg == name)?;
    args.get(at + 1)?.parse().ok()
}
