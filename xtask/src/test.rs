//! `cargo xtask test`: every test and every doc test.

mod allowed;
mod harness;
mod machine;
mod skips;

use std::env;
use std::ffi::OsString;

use anyhow::{Result, bail, ensure};
use xshell::{Cmd, Shell, cmd};

use crate::shell::{self, Failed};
use machine::Machine;
use skips::Skips;

/// nextest found no test with a name like that: <https://docs.rs/nextest-metadata>,
/// `NextestExitCode::NO_TESTS_RUN`.
const NO_TESTS_RUN: Option<i32> = Some(4);

/// Build and pass every test and every doc test
///
/// Runs them with cargo-nextest where it is installed, with cargo test where not. After nextest it
/// says which checks were skipped, and why.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Fail on a check that was skipped, unless this machine lacks what it needs; CI in the
    /// environment asks for it too
    #[arg(long)]
    check_skips: bool,
    #[command(flatten)]
    tests: Selection,
}

/// Which tests to run, and how.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Selection {
    /// The tests of this package
    #[arg(short, long = "package", value_name = "PACKAGE")]
    packages: Vec<String>,
    /// The tests with one of these in their names
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    /// The test harness's own (--exact, --skip NAME, --nocapture, --test-threads N): the same under
    /// both runners
    #[arg(last = true, value_name = "ARGS")]
    harness: Vec<OsString>,
}

impl Args {
    /// The doc tests first, so that the last lines are those that nextest closes with, and what was
    /// skipped.
    pub(crate) fn run(&self) -> Result<()> {
        let tests = &self.tests;
        let docs = tests.run_docs();
        let units = tests.run_units();
        if let Err(error) = &docs {
            eprintln!("xtask: the doc tests failed: {error:#}");
        }
        match units {
            // The filters may mean doc tests alone.
            Err(error) if ran_none(&error) => {
                if tests.has_docs() && tests.lists_any("--doc")? {
                    return docs;
                }
                bail!(NoTests)
            }
            Err(error) => Err(error),
            Ok(()) => docs.and_then(|()| self.check_skips()),
        }
    }
}

impl Args {
    /// Nothing is known where cargo-nextest did not run the tests: it alone keeps what a test says
    /// that passes.
    fn check_skips(&self) -> Result<()> {
        let is_ci = env::var_os("CI").is_some_and(|ci| !ci.is_empty());
        if !self.check_skips && !is_ci {
            return Ok(());
        }
        if !has_nextest(&shell::shell()?) {
            ensure!(!self.check_skips, "--check-skips needs cargo-nextest");
            eprintln!("xtask: what was skipped is not checked: cargo-nextest is not installed");
            return Ok(());
        }
        let skips = Skips::read(&std::fs::read_to_string(skips::report())?)?;
        let unexpected = skips.unexpected(&Machine::probe());
        ensure!(
            unexpected.is_empty(),
            "this machine has no reason to skip these (xtask/src/test/allowed.rs):\n{}",
            unexpected.join("\n")
        );
        Ok(())
    }
}

/// Whether it failed for want of a test.
fn ran_none(error: &anyhow::Error) -> bool {
    let failed = error.downcast_ref::<Failed>();
    error.is::<NoTests>() || failed.is_some_and(|failed| failed.code() == NO_TESTS_RUN)
}

#[derive(Debug)]
struct NoTests;

impl std::fmt::Display for NoTests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no test ran: nothing has a name like that")
    }
}

impl std::error::Error for NoTests {}

impl Selection {
    /// Compiles what [`Self::run_units`] runs.
    pub(crate) fn build(&self) -> Result<()> {
        let shell = shell::shell()?;
        let packages = self.packages();
        let build = if has_nextest(&shell) {
            cmd!(
                shell,
                "cargo nextest run --all-features {packages...} --no-run"
            )
        } else {
            cmd!(
                shell,
                "cargo test --all-features {packages...} --tests --no-run"
            )
        };
        shell::run(build)
    }

    /// Runs the tests without the doc tests. To run none is to fail.
    pub(crate) fn run_units(&self) -> Result<()> {
        let shell = shell::shell()?;
        if !has_nextest(&shell) {
            if !self.lists_any("--tests")? {
                bail!(NoTests);
            }
            return shell::run(self.cargo_test(&shell, "--tests"));
        }
        let (packages, filters) = (self.packages(), &self.filters);
        let harness::Harness { before, after } = harness::for_nextest(&self.harness);
        let report = skips::report();
        let _ = std::fs::remove_file(&report);
        let done = shell::run(cmd!(
            shell,
            "cargo nextest run --all-features {packages...} {before...} {filters...} -- {after...}"
        ));
        // No report where nextest did not come to its end; it has said why.
        if let Ok(report) = std::fs::read_to_string(&report) {
            eprint!("{}", Skips::read(&report)?);
        }
        done
    }

    fn run_docs(&self) -> Result<()> {
        if !self.has_docs() {
            return Ok(());
        }
        let shell = shell::shell()?;
        shell::run(self.cargo_test(&shell, "--doc"))
    }

    /// xtask has no library: cargo calls it an error to ask for its doc tests alone.
    fn has_docs(&self) -> bool {
        self.packages != ["xtask"]
    }

    /// Whether the filters leave any test of this kind.
    fn lists_any(&self, kind: &str) -> Result<bool> {
        if self.filters.is_empty() && self.harness.is_empty() {
            return Ok(true);
        }
        let shell = shell::shell()?;
        let list = self
            .cargo_test(&shell, kind)
            .args(["--list", "--format", "terse"]);
        let listed = list.quiet().ignore_stderr().read()?;
        Ok(listed.lines().any(|line| line.ends_with(": test")))
    }

    fn cargo_test<'a>(&self, shell: &'a Shell, kind: &str) -> Cmd<'a> {
        let (packages, filters, harness) = (self.packages(), &self.filters, &self.harness);
        cmd!(
            shell,
            "cargo test --all-features --no-fail-fast {kind} {packages...} --"
        )
        .args(filters)
        .args(harness)
    }

    fn packages(&self) -> Vec<&str> {
        if self.packages.is_empty() {
            return vec!["--workspace"];
        }
        let packages = self.packages.iter();
        packages.flat_map(|package| ["-p", package]).collect()
    }
}

fn has_nextest(shell: &Shell) -> bool {
    let version = cmd!(shell, "cargo nextest --version").quiet();
    version.ignore_stdout().ignore_stderr().run().is_ok()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        tests: Selection,
    }

    fn parse(line: &str) -> Result<Selection, clap::Error> {
        let words = ["test"].into_iter().chain(line.split_whitespace());
        Ok(Line::try_parse_from(words)?.tests)
    }

    #[test]
    fn filters_stand_before_the_dashes_and_arguments_behind() {
        let tests = parse("-p fd-preserve swap chain -- --exact x").unwrap();
        assert_eq!(tests.packages(), ["-p", "fd-preserve"]);
        assert_eq!(tests.filters, ["swap", "chain"]);
        assert_eq!(tests.harness, ["--exact", "x"]);
    }

    #[test]
    fn option_of_the_harness_before_the_dashes_is_refused() {
        assert!(parse("--nocapture").is_err());
        assert!(parse("-p").is_err());
    }
}
