//! `cargo xtask peers`: the hostile tree under other people's tools and under ours, as docs/peers.md.

use std::ffi::OsString;
use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::{Outcome, bench, cargo};

/// What the table says, for whoever reads it alone.
const HEAD: &str = "\
A tree of seven hostile processes is started by a runtime: the leader traps TERM; one child is in its group; two have
sessions of their own; one is a daemon by a double fork; one ignores TERM; one has a group of its own. The runtime is
killed by SIGKILL, and two seconds afterwards is counted who is left. The times are medians, counted from the kill. Ours
wait 500 ms between TERM and SIGKILL here, for the one that ignores TERM.

The runtime starts each tool as its child, in the way that the tool's manual has it. Each trial has a PID namespace of
its own. The optimised build is measured.
";

pub(crate) fn run(args: &[OsString]) -> Outcome {
    let mut command = cargo::cargo([
        "bench",
        "-p",
        "workspace-tests",
        "--bench",
        "tree_peers",
        "--",
    ]);
    let mut table = String::new();
    let status = cargo::run_seeing(command.args(args), cargo::Stream::Stdout, |line| {
        if line.starts_with('|') || line.starts_with("- ") || line.is_empty() && !table.is_empty() {
            table.push_str(line);
            table.push('\n');
        }
    })?;
    if !status.success() {
        return Ok(cargo::exit_code(status));
    }
    let file = cargo::root().join("docs/peers.md");
    fs::write(&file, page(&table)?).context("write docs/peers.md")?;
    println!("written: docs/peers.md");
    Ok(ExitCode::SUCCESS)
}

fn page(table: &str) -> Result<String> {
    let Some((rows, versions)) = table.split_once("\n\n") else {
        bail!("no table: {table}");
    };
    let lock = fs::read_to_string(cargo::root().join("Cargo.lock")).context("read Cargo.lock")?;
    let processkit = version(&lock, "processkit").unwrap_or("unknown");
    let date = Command::new("date").args(["-u", "+%F"]).output();
    let date = date.context("run date")?.stdout;
    Ok(format!(
        "# Peers\n\n{HEAD}\n```sh\ncargo xtask peers\n```\n\n{}, {}.\n\n{rows}\n\n{}\n- processkit {processkit}\n",
        String::from_utf8_lossy(&date).trim(),
        bench::machine(),
        versions.trim(),
    ))
}

/// The version of a package in Cargo.lock.
fn version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let (_, rest) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    Some(rest.split_once('"')?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_that_of_the_package() {
        let lock =
            "name = \"a\"\nversion = \"1.0\"\n\n[[package]]\nname = \"ab\"\nversion = \"2.0\"\n";
        assert_eq!(version(lock, "ab"), Some("2.0"));
        assert_eq!(version(lock, "b"), None);
    }
}
