//! What was skipped, and why: from the report that nextest writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use quick_junit::TestCase;

use super::allowed;
use super::machine::Machine;
use crate::shell;

/// How a test begins the line that says so, whether it skips a part of itself or all.
const SKIPPED: &str = "skipped";

/// Where .config/nextest.toml has it. nextest's own folder does not go with the target folder.
pub(super) fn report() -> PathBuf {
    shell::root().join("target/nextest/default/junit.xml")
}

/// What the tests of a run have skipped.
#[derive(Debug, PartialEq)]
pub(super) struct Skips {
    tests: usize,
    /// How many of them have skipped something.
    skipping: usize,
    /// Each reason with the number of its tests.
    reasons: BTreeMap<String, usize>,
}

impl Skips {
    /// From a report of nextest's.
    pub(super) fn read(report: &str) -> Result<Skips> {
        let report = quick_junit::Report::deserialize_from_str(report);
        let report = report.context("read nextest's report")?;
        let cases = report
            .test_suites
            .iter()
            .flat_map(|suite| &suite.test_cases);
        let mut skips = Skips {
            tests: report.tests,
            skipping: 0,
            reasons: BTreeMap::new(),
        };
        for case in cases {
            let said = reasons_of(case);
            skips.skipping += usize::from(!said.is_empty());
            for reason in said {
                *skips.reasons.entry(reason.to_owned()).or_default() += 1;
            }
        }
        Ok(skips)
    }

    /// Those for which `machine` has no reason.
    pub(super) fn unexpected(&self, machine: &Machine) -> Vec<&str> {
        let reasons = self.reasons.keys().map(String::as_str);
        reasons
            .filter(|reason| !allowed::is_allowed(reason, machine))
            .collect()
    }
}

/// How many tests have skipped something, and each reason with the number of its tests; nothing
/// where none has.
impl fmt::Display for Skips {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.skipping > 0 {
            let (skipping, tests) = (self.skipping, self.tests);
            writeln!(f, "{skipping} of {tests} tests skipped something:")?;
        }
        for (reason, count) in &self.reasons {
            writeln!(f, "{count:>6} {reason}")?;
        }
        Ok(())
    }
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
        let skips = Skips::read(&report(&[vim, both, "ok\n"])).unwrap();
        assert_eq!(
            skips.to_string(),
            "2 of 3 tests skipped something:\n     1 skipped: no <PID> namespace\n\
             \x20    2 skipped: vim is not installed\n"
        );
    }

    #[test]
    fn nothing_is_told_where_nothing_was_skipped() {
        let skips = Skips::read(&report(&["ok\n"])).unwrap();
        assert_eq!(skips.to_string(), "");
        assert!(skips.unexpected(&Machine::whole()).is_empty());
    }

    #[test]
    fn skip_that_the_machine_has_no_reason_for_is_unexpected() {
        let outputs = [
            "skipped: needs CapabilitySet(SYS_RESOURCE)\n",
            "skipped: an example was not built\n",
        ];
        let skips = Skips::read(&report(&outputs)).unwrap();
        let machine = Machine {
            capabilities: 0,
            ..Machine::whole()
        };
        let unexpected = ["skipped: an example was not built"];
        assert_eq!(skips.unexpected(&machine), unexpected);
        assert_eq!(skips.unexpected(&Machine::whole()).len(), 2);
    }
}
