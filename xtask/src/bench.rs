//! `cargo xtask bench`: the comparisons across crates, as a table, a page with plots, and
//! (`--check`) beside the committed baseline. With a package, a filter or `--no-run`: `cargo
//! bench`.

use std::ffi::OsString;
use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::shell;

/// Those that the report is made of.
const BENCHES: [&str; 6] = [
    "--bench=pollhup_latency",
    "--bench=fd_clean",
    "--bench=spawn_cost",
    "--bench=exit_storm",
    "--bench=death_latency",
    "--bench=shim_cost",
];

/// The comparisons across crates, with their peers and the bare kernel, on an idle machine
///
/// Prints one table and writes docs/bench: a page and plots. With a package, a filter or --no-run
/// it is `cargo bench` of these, and nothing is written.
#[allow(clippy::struct_excessive_bools, reason = "flags that are typed or not")]
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Take few rounds
    #[arg(long)]
    quick: bool,
    /// Compare ratios with docs/bench/baseline.json instead, and fail on a regression
    #[arg(long)]
    check: bool,
    /// Write the page again from the samples of the last run, without measuring
    #[arg(long, conflicts_with = "quick")]
    redraw: bool,
    /// Write docs/bench/baseline.json
    #[arg(long)]
    baseline: bool,
    #[command(flatten)]
    plain: Plain,
}

/// What `cargo bench` is to run.
#[derive(Debug, clap::Args)]
#[group(id = "plain", conflicts_with_all = ["check", "redraw", "baseline"], multiple = true)]
struct Plain {
    /// The benches of this package
    #[arg(short, long = "package", value_name = "PACKAGE")]
    packages: Vec<String>,
    /// Compile them only
    #[arg(long)]
    no_run: bool,
    /// Those with this in their names
    filter: Option<String>,
    /// Criterion's own
    #[arg(last = true)]
    args: Vec<OsString>,
}

impl Args {
    pub(crate) fn run(&self) -> Result<()> {
        let shell = shell::shell()?;
        if self.plain.is_asked_for() {
            return self.plain.run(&shell, self.quick);
        }
        let mut report: Vec<OsString> = Vec::new();
        if !self.redraw {
            let seconds = self.measure(&shell)?;
            report.extend(["--measured".into(), seconds.to_string().into()]);
        }
        let page = self.redraw || !self.check;
        for (flag, wanted) in [
            ("--quick", self.quick),
            ("--page", page),
            ("--check", self.check),
            ("--baseline", self.baseline),
        ] {
            report.extend(wanted.then(|| flag.into()));
        }
        shell::run(cmd!(
            shell,
            "cargo run --quiet -p workspace-tests --bin bench_report -- {report...}"
        ))
    }

    /// Compiles all, then runs one after another: nothing else is to run meanwhile. An interrupted
    /// bench leaves no child, and ^C of a terminal reaches it as it reaches us. Gives how many
    /// seconds it took.
    fn measure(&self, shell: &Shell) -> Result<u64> {
        shell::run(cmd!(
            shell,
            "cargo bench -p workspace-tests {BENCHES...} --no-run"
        ))?;
        shell::run(cmd!(
            shell,
            "cargo build --quiet -p workspace-tests --bin bench_report"
        ))?;
        let kept = shell::target().join("samples");
        // Nothing of an earlier run gets into this one's report.
        if kept.exists() {
            fs::remove_dir_all(&kept).context("remove the samples of the last run")?;
        }
        let quick = self.quick.then_some("--quick");
        let start = Instant::now();
        for (index, bench) in BENCHES.iter().enumerate() {
            let (number, count) = (index + 1, BENCHES.len());
            eprintln!("[{number}/{count}] {} s so far", start.elapsed().as_secs());
            shell::run(cmd!(
                shell,
                "cargo bench -p workspace-tests {bench} -- {quick...}"
            ))?;
        }
        Ok(start.elapsed().as_secs())
    }
}

impl Plain {
    fn is_asked_for(&self) -> bool {
        self.no_run || self.filter.is_some() || !self.packages.is_empty() || !self.args.is_empty()
    }

    /// The criterion targets alone: the harness of unit tests, which `cargo bench` would run as
    /// well, does not know criterion's arguments.
    fn run(&self, shell: &Shell, quick: bool) -> Result<()> {
        let mut selected: Vec<&str> = Vec::new();
        for package in &self.packages {
            selected.extend(["-p", package]);
        }
        if selected.is_empty() {
            selected.push("--workspace");
        }
        let no_run = self.no_run.then_some("--no-run");
        let (filter, args) = (&self.filter, &self.args);
        let quick = quick.then_some("--quick");
        let command = cmd!(
            shell,
            "cargo bench --all-features --bench * {selected...} {no_run...} --"
        );
        shell::run(command.args(filter).args(quick).args(args))
    }
}

/// All of the workspace's compile.
pub(crate) fn compile() -> Result<()> {
    let plain = Plain {
        packages: Vec::new(),
        no_run: true,
        filter: None,
        args: Vec::new(),
    };
    plain.run(&shell::shell()?, false)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args, clap::Error> {
        let words = ["bench"].into_iter().chain(line.split_whitespace());
        Ok(Line::try_parse_from(words)?.args)
    }

    #[test]
    fn what_is_not_about_the_report_is_cargos() {
        for line in ["spawn --quick", "--no-run -p fd-preserve", "-- --no-run"] {
            assert!(parse(line).unwrap().plain.is_asked_for(), "{line}");
        }
        for line in ["", "--check --quick", "--redraw --check", "--baseline"] {
            assert!(!parse(line).unwrap().plain.is_asked_for(), "{line}");
        }
    }

    #[test]
    fn what_makes_no_sense_together_is_refused() {
        for line in [
            "--baseline -p fd-preserve",
            "--redraw --quick",
            "--check spawn",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
