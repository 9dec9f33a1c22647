//! What was skipped, and why: from the report that nextest writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use quick_junit::{Report, TestCase};

use super::allowed::Machine;
use crate::shell;

/// How a test begins the line that says so, whether it skips a part of itself or all.
const SKIPPED: &str = "skipped";

/// Where .config/nextest.toml has it. nextest's own folder does not go with the target folder.
pub(super) fn report() -> PathBuf {
    shell::root().join("target/nextest/default/junit.xml")
}

/// What nextest wrote.
pub(super) fn parse(report: &str) -> Result<Report> {
    Report::deserialize_from_str(report).context("read nextest's report")
}

/// Fails if a test has skipped something that this machine could have run.
pub(super) fn check(report: &Report, machine: &Machine) -> Result<()> {
    let reasons: BTreeSet<&str> = cases(report).flat_map(reasons_of).collect();
    let refused: Vec<&str> = reasons
        .into_iter()
        .filter(|reason| !machine.allows(reason))
        .collect();
    if !refused.is_empty() {
        bail!("this machine could have run it:\n{}", refused.join("\n"));
    }
    Ok(())
}

fn cases(report: &Report) -> impl Iterator<Item = &TestCase> {
    let suites = report.test_suites.iter();
    suites.flat_map(|suite| &suite.test_cases)
}

/// How many tests have skipped something, and each reason with the number of its tests; nothing
/// where none has.
pub(super) fn told(report: &Report) -> Result<String> {
    let mut tests = 0;
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for case in cases(report) {
        let said = reasons_of(case);
        tests += usize::from(!said.is_empty());
        for reason in said {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    let mut text = String::new();
    if tests > 0 {
        writeln!(text, "{tests} of {} tests skipped something:", report.tests)?;
    }
    for (reason, count) in reasons {
        writeln!(text, "{count:>6} {reason}")?;
    }
    Ok(text)
}

/// Each once.
fn reasons_of(case: &TestCase) -> BTreeSet<&str> {
    let outputs = [&case.system_out, &case.system_err].into_iter().flatten();
    let lines = outputs.flat_map(|output| output.as_str().lines());
    lines.filter(|line| line.starts_with(SKIPPED)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outputs: &[&str]) -> String {
        let cases: Vec<String> = outputs
            .iter()
            .map(|output| {
                format!(
                    "<testcase name=\"a\" classname=\"b\" time=\"0.1\">\
                     <system-err>{output}</system-err></testcase>"
                )
            })
            .collect();
        let (count, cases) = (outputs.len(), cases.concat());
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
             <testsuites name=\"nextest-run\" tests=\"{count}\" failures=\"0\" errors=\"0\">\
             <testsuite name=\"b\" tests=\"{count}\" disabled=\"0\" errors=\"0\" \
             failures=\"0\">{cases}\
             </testsuite></testsuites>"
        )
    }

    #[test]
    fn each_reason_is_told_with_the_number_of_its_tests() {
        let vim = "running 1 test\nskipped: vim is not installed\nskipped: vim is not installed\n";
        let both = "skipped: no &lt;PID&gt; namespace\nskipped: vim is not installed\n";
        let told = told(&parse(&report(&[vim, both, "ok\n"])).unwrap()).unwrap();
        assert_eq!(
            told,
            "2 of 3 tests skipped something:\n     1 skipped: no <PID> namespace\n\
             \x20    2 skipped: vim is not installed\n"
        );
    }

    #[test]
    fn nothing_is_told_where_nothing_was_skipped() {
        assert_eq!(told(&parse(&report(&["ok\n"])).unwrap()).unwrap(), "");
    }
}
