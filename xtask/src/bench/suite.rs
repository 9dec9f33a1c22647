//! Which benches the report is made of, and what is done with what they measured.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;
use std::{env, fs, path};

use anyhow::{Context, Result};

use super::samples::{self, Run};
use super::{check, plot, report};
use crate::{Outcome, cargo, usage};

const BENCHES: [&str; 6] = [
    "pollhup_latency",
    "fd_clean",
    "spawn_cost",
    "exit_storm",
    "death_latency",
    "shim_cost",
];

/// What the command line asks for: without a flag, that all be measured, and the report.
#[allow(clippy::struct_excessive_bools, reason = "flags that are typed or not")]
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    check: bool,
    redraw: bool,
    quick: bool,
    baseline: bool,
}

impl Wanted {
    /// `None` if it asks for something else: a package, a filter, what criterion knows.
    pub(super) fn parse(args: &[OsString]) -> Result<Option<Wanted>> {
        let mut wanted = Wanted::default();
        let mut others = None;
        for arg in args {
            match arg.to_str() {
                Some("--check") => wanted.check = true,
                Some("--redraw") => wanted.redraw = true,
                Some("--quick") => wanted.quick = true,
                Some("--baseline") => wanted.baseline = true,
                _ => others = Some(arg),
            }
        }
        match others {
            Some(other) if wanted.check || wanted.redraw || wanted.baseline => Err(usage(format!(
                "bench --check, --redraw and --baseline have no use for {}",
                other.display()
            ))),
            Some(_) => Ok(None),
            None if wanted.redraw && wanted.quick => {
                Err(usage("--redraw measures nothing, quick or not"))
            }
            None => Ok(Some(wanted)),
        }
    }
}

pub(super) fn run(wanted: &Wanted) -> Outcome {
    let kept = folder()?;
    if !wanted.redraw {
        measure(&kept, wanted.quick)?;
    }
    let (run, all) = samples::load(&kept)?;
    let docs = cargo::root().join("docs/bench");
    if wanted.redraw || !wanted.check {
        print!("{}", report::table(&all));
        fs::create_dir_all(&docs).context("make docs/bench")?;
        let plots = plot::all(&docs, &all).context("draw the plots")?;
        fs::write(docs.join("report.md"), report::page(&run, &all, &plots))
            .context("write report.md")?;
        println!("\nwritten: docs/bench/report.md and {} plots", plots.len());
    }
    let file = docs.join("baseline.json");
    let verdict = if wanted.check {
        let verdict = check::against(&check::load(&file)?, &check::measured(&all));
        print!("{verdict}");
        verdict.passed()
    } else {
        true
    };
    // After the comparison, or it would be one with itself; not after a regression.
    if wanted.baseline && verdict {
        fs::create_dir_all(&docs).context("make docs/bench")?;
        check::save(&file, &check::measured(&all))?;
        println!("written: docs/bench/baseline.json");
    }
    Ok(if verdict {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Where the benches keep their samples.
fn folder() -> Result<PathBuf> {
    Ok(match target()? {
        Some(target) => target,
        None => cargo::root().join("target"),
    }
    .join("samples"))
}

/// The target folder that the environment names, for whatever folder a bench runs in.
fn target() -> Result<Option<PathBuf>> {
    env::var_os("CARGO_TARGET_DIR")
        .map(|target| path::absolute(target).context("CARGO_TARGET_DIR"))
        .transpose()
}

/// Compiles all, then runs one after another: nothing else is to run meanwhile. An interrupted bench leaves no child,
/// and ^C of a terminal reaches it as it reaches us.
fn measure(kept: &Path, quick: bool) -> Result<()> {
    cargo::check(bench(&BENCHES)?.arg("--no-run"))?;
    // Nothing of an earlier run gets into this one's report.
    if kept.exists() {
        fs::remove_dir_all(kept).context("remove the samples of the last run")?;
    }
    let start = Instant::now();
    for (index, name) in BENCHES.iter().enumerate() {
        eprintln!(
            "[{}/{}] {name}, {} s so far",
            index + 1,
            BENCHES.len(),
            start.elapsed().as_secs()
        );
        let mut command = bench(&[name])?;
        if quick {
            command.args(["--", "--quick"]);
        }
        cargo::check(&mut command)?;
    }
    samples::keep(kept, &Run::here(quick, start.elapsed().as_secs()))
}

fn bench(names: &[&str]) -> Result<Command> {
    let mut command = cargo::cargo(["bench", "-p", "workspace-tests"]);
    for name in names {
        command.args(["--bench", name]);
    }
    if let Some(target) = target()? {
        command.env("CARGO_TARGET_DIR", target);
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_about_the_report_is_cargos() {
        let parse = |line: &str| {
            let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            Wanted::parse(&args)
        };
        assert_eq!(parse("spawn --quick").expect("criterion's"), None);
        assert_eq!(parse("--no-run -p fd-preserve").expect("cargo's"), None);
        let wanted = parse("--check --quick").expect("ours").expect("a check");
        assert!(wanted.check && wanted.quick && !wanted.redraw);
        assert!(parse("--baseline -p fd-preserve").is_err());
        assert!(parse("--redraw --quick").is_err());
        assert_eq!(Wanted::parse(&[]).expect("ours"), Some(Wanted::default()));
    }
}
