//! `cargo xtask test`: every test, then every doc test.

mod harness;

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Result;

use crate::cargo::{self, Stream};
use crate::{Outcome, usage};

pub(crate) fn run(args: &[OsString]) -> Outcome {
    let request = Request::parse(args)?;
    let mut closing = Closing::default();
    let units = request.units(&mut closing)?;
    let docs = request.docs(&mut closing)?;
    closing.print();
    if closing.tests == 0 {
        eprintln!("xtask: no test ran: nothing has a name like that");
        return Ok(ExitCode::FAILURE);
    }
    Ok(if units == ExitCode::SUCCESS {
        docs
    } else {
        units
    })
}

/// Which tests to run, and how: what stands behind `cargo xtask test`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Request {
    packages: Vec<OsString>,
    filters: Vec<OsString>,
    harness: Vec<OsString>,
}

/// What the runners said last, and how many tests they ran.
#[derive(Default)]
struct Closing {
    lines: Vec<String>,
    tests: u64,
}

impl Request {
    /// `[-p PACKAGE] [FILTER...] [-- ARGS]`
    pub(crate) fn parse(args: &[OsString]) -> Result<Request> {
        let mut request = Request::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.to_str() {
                Some("--") => {
                    request.harness = args.cloned().collect();
                    break;
                }
                Some("-p" | "--package") => {
                    let package = args.next().ok_or_else(|| usage("-p needs a package"))?;
                    request
                        .packages
                        .extend([OsString::from("-p"), package.clone()]);
                }
                Some(option) if option.starts_with('-') => {
                    return Err(usage(format!(
                        "unknown option {option} (the test harness's own go behind a --)"
                    )));
                }
                _ => request.filters.push(arg.clone()),
            }
        }
        Ok(request)
    }

    /// Compiles what [`Self::run_units`] runs.
    pub(crate) fn build(&self) -> Result<()> {
        let mut command = if has_nextest() {
            self.nextest()
        } else {
            self.cargo_test("--tests")
        };
        cargo::check(command.arg("--no-run"))
    }

    /// Runs the tests without the doc tests.
    pub(crate) fn run_units(&self) -> Outcome {
        let mut closing = Closing::default();
        let code = self.units(&mut closing)?;
        if closing.tests == 0 {
            eprintln!("xtask: no test ran: nothing has a name like that");
            return Ok(ExitCode::FAILURE);
        }
        Ok(code)
    }

    fn units(&self, closing: &mut Closing) -> Outcome {
        if !has_nextest() {
            return self.see(self.cargo_test("--tests"), Stream::Stdout, closing);
        }
        let mut command = self.nextest();
        // A filter that selects none here may yet select doc tests: judged when both are done.
        command.args(["--no-tests", "pass"]);
        // nextest speaks on stderr, which is read for its closing line and so is no terminal to it.
        if io::stderr().is_terminal() {
            command.args(["--color", "always"]);
        }
        let harness = harness::for_nextest(&self.harness);
        command
            .args(harness.before)
            .args(&self.filters)
            .arg("--")
            .args(harness.after);
        let status = cargo::run_seeing(&mut command, Stream::Stderr, |line| closing.see(line))?;
        Ok(cargo::exit_code(status))
    }

    fn docs(&self, closing: &mut Closing) -> Outcome {
        if self.packages == ["-p", "xtask"] {
            // No library, no doc tests: cargo would call it an error.
            return Ok(ExitCode::SUCCESS);
        }
        self.see(self.cargo_test("--doc"), Stream::Stdout, closing)
    }

    fn see(&self, mut command: Command, stream: Stream, closing: &mut Closing) -> Outcome {
        // Behind the `--` the harness takes any number of filters, in front of it cargo takes one.
        command.arg("--").args(&self.filters).args(&self.harness);
        let status = cargo::run_seeing(&mut command, stream, |line| closing.see(line))?;
        Ok(cargo::exit_code(status))
    }

    fn nextest(&self) -> Command {
        self.select(cargo::cargo(["nextest", "run", "--all-features"]))
    }

    fn cargo_test(&self, targets: &str) -> Command {
        self.select(cargo::cargo([
            "test",
            "--all-features",
            "--no-fail-fast",
            targets,
        ]))
    }

    fn select(&self, mut command: Command) -> Command {
        if self.packages.is_empty() {
            command.arg("--workspace");
        }
        command.args(&self.packages);
        command
    }
}

impl Closing {
    /// Keeps a line if it is one that a runner closes with.
    fn see(&mut self, line: &str) {
        if let Some(tests) = tests_run(line) {
            self.tests += tests;
            self.lines.push(line.trim().to_owned());
        }
    }

    fn print(&self) {
        eprintln!();
        for line in &self.lines {
            eprintln!("{line}");
        }
    }
}

/// How many tests a runner's closing line speaks of; `None` for any other line.
///
/// nextest: `Summary [   0.1s] 12 tests run: 12 passed, 0 skipped`;
/// libtest: `test result: ok. 12 passed; 1 failed; 0 ignored; 0 measured; 3 filtered out; ...`.
fn tests_run(line: &str) -> Option<u64> {
    let line = without_colour(line);
    let line = line.trim_start();
    if line.starts_with("Summary [") {
        return line
            .split("] ")
            .nth(1)?
            .trim_start()
            .split([' ', '/'])
            .next()?
            .parse()
            .ok();
    }
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let count = |word: &str| -> Option<u64> {
        counts
            .split("; ")
            .find_map(|part| part.strip_suffix(word)?.trim().parse().ok())
    };
    Some(count(" passed")? + count(" failed")?)
}

/// The line without its ANSI escape sequences.
fn without_colour(line: &str) -> String {
    let mut parts = line.split('\x1b');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.split_once('m').map_or(part, |(_, rest)| rest));
    }
    plain
}

/// cargo-nextest, where it is installed.
fn has_nextest() -> bool {
    let mut version = cargo::cargo(["nextest", "--version"]);
    let status = version.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn filters_stand_before_the_dashes_and_arguments_behind() {
        let request = Request::parse(&words("-p fd-preserve swap chain -- --exact x")).unwrap();
        assert_eq!(request.packages, words("-p fd-preserve"));
        assert_eq!(request.filters, words("swap chain"));
        assert_eq!(request.harness, words("--exact x"));
    }

    #[test]
    fn option_of_the_harness_before_the_dashes_is_refused() {
        assert!(Request::parse(&words("--nocapture")).is_err());
        assert!(Request::parse(&words("-p")).is_err());
    }

    #[test]
    fn closing_lines_of_both_runners_are_counted() {
        let nextest = "     Summary [   1.005s] 12/40 tests run: 11 passed, 1 failed, 3 skipped";
        assert_eq!(tests_run(nextest), Some(12));
        let coloured =
            "\x1b[32;1m     Summary\x1b[0m [   0.1s] \x1b[1m7\x1b[0m tests run: 7 passed";
        assert_eq!(tests_run(coloured), Some(7));
        let libtest =
            "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 9 filtered out; x";
        assert_eq!(tests_run(libtest), Some(5));
        assert_eq!(tests_run("test passes ... ok"), None);
    }
}
