//! What the tests said in a machine: which passed, failed, or skipped something.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// What the guest's script begins its own lines with.
const OURS: &str = "@";

/// Of one kernel, as the machine told it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Results {
    /// The kernel's own name of its version.
    pub(super) release: String,
    pub(super) passed: usize,
    /// Why, by name.
    pub(super) failed: BTreeMap<String, String>,
    /// Tests that passed and left something out. Why, by name.
    pub(super) skipped: BTreeMap<String, BTreeSet<String>>,
    pub(super) seconds: u64,
    /// Whether the machine came to its end.
    #[serde(skip)]
    pub(super) done: bool,
}

/// Takes what a machine says, a line at a time.
#[derive(Debug, Default)]
pub(super) struct Reader {
    results: Results,
    program: Option<Output>,
}

/// Of a program full of tests, so far.
#[derive(Debug, Default)]
struct Output {
    name: String,
    passed: BTreeSet<String>,
    failed: BTreeSet<String>,
    /// They were said to take long, and nothing since.
    long: BTreeSet<String>,
    /// Whose captured output this is.
    whose: Option<String>,
    said: BTreeMap<String, Vec<String>>,
    /// It has closed as the harness does.
    closed: bool,
    /// All that it said, for a program that is no harness's.
    all: Vec<String>,
}

/// A program of the job has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ended {
    pub(super) name: String,
    pub(super) failures: usize,
    pub(super) seconds: u64,
}

impl Reader {
    /// Tells of a program that ended with this line.
    pub(super) fn line(&mut self, line: &str) -> Option<Ended> {
        let Some(ours) = line.strip_prefix(OURS) else {
            if let Some(program) = &mut self.program {
                program.line(line);
            }
            return None;
        };
        match ours.split(' ').collect::<Vec<_>>()[..] {
            ["kernel", release] => release.clone_into(&mut self.results.release),
            ["begin", name] => {
                self.program = Some(Output {
                    name: name.to_owned(),
                    ..Output::default()
                });
            }
            ["end", name, code, seconds] => {
                let program = self.program.take().unwrap_or_default();
                let failures = program.end(code, &mut self.results);
                return Some(Ended {
                    name: name.to_owned(),
                    failures,
                    seconds: seconds.parse().unwrap_or_default(),
                });
            }
            ["done", seconds] => {
                self.results.done = true;
                self.results.seconds = seconds.parse().unwrap_or_default();
            }
            _ => {}
        }
        None
    }

    /// The machine is off.
    pub(super) fn end(mut self) -> Results {
        let running = self.program.take();
        if !self.results.done {
            let what = running.map_or_else(|| "the machine".to_owned(), |program| program.name);
            let why = "the machine ended before this did".to_owned();
            self.results.failed.insert(what, why);
        }
        self.results
    }
}

impl Output {
    fn line(&mut self, line: &str) {
        self.all.push(line.to_owned());
        if let Some(whose) = heading(line) {
            self.whose = Some(whose.to_owned());
            return;
        }
        if line == "failures:" || line == "successes:" {
            self.whose = None;
        }
        if line.starts_with("test result: ") {
            self.whose = None;
            self.closed = true;
            return;
        }
        if let Some(whose) = &self.whose {
            let said = self.said.entry(whose.clone()).or_default();
            said.push(line.to_owned());
            return;
        }
        let Some(test) = line.strip_prefix("test ") else {
            return;
        };
        if let Some((name, _)) = test.split_once(" has been running for over") {
            self.long.insert(name.to_owned());
            return;
        }
        let Some((name, verdict)) = test.rsplit_once(" ... ") else {
            return;
        };
        // `#[should_panic]` has its mark behind the name.
        let name = name.split_once(" - ").map_or(name, |(name, _)| name);
        let name = name.to_owned();
        self.long.remove(&name);
        match verdict {
            "ok" => self.passed.insert(name),
            "FAILED" => self.failed.insert(name),
            _ => false,
        };
    }

    /// Adds it to the results. Gives the number of failures.
    fn end(mut self, code: &str, results: &mut Results) -> usize {
        let program = self.name;
        let before = results.failed.len();
        for test in &self.failed {
            let said = self.said.remove(test).unwrap_or_default();
            let name = format!("{program} {test}");
            results.failed.insert(name, said.join("\n"));
        }
        for test in &self.passed {
            let said = self.said.remove(test).unwrap_or_default();
            let skips = said.into_iter().filter(|line| line.starts_with("skipped"));
            let skips: BTreeSet<String> = skips.collect();
            if !skips.is_empty() {
                let name = format!("{program} {test}");
                results.skipped.insert(name, skips);
            }
        }
        results.passed += self.passed.len();
        for test in &self.long {
            let name = format!("{program} {test}");
            results.failed.insert(name, "it did not end".to_owned());
        }
        let is_harness = self.all.iter().any(|line| line.starts_with("running "));
        if is_harness && !self.closed || code != "0" && self.failed.is_empty() {
            let last = self.all.len().saturating_sub(40);
            let said = self.all.split_off(last).join("\n");
            let why = format!("it ended with {code}\n{said}");
            results.failed.insert(program, why);
        } else if !is_harness {
            results.passed += 1;
        }
        results.failed.len() - before
    }
}

/// Of what a test has said: `---- NAME stdout ----`.
fn heading(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<Ended>, Results) {
        let mut reader = Reader::default();
        let ended = text.lines().filter_map(|line| reader.line(line)).collect();
        (ended, reader.end())
    }

    const RUN: &str = "\
@kernel 5.10.0
@begin tests::fd_again
running 4 tests
test twice ... ok
test never has been running for over 60 seconds
test late has been running for over 60 seconds
test half ... ok
test late ... ok
test wrong - should panic ... FAILED

successes:

---- half stdout ----
skipped: vim is not installed

successes:
    half

failures:

---- wrong stdout ----
thread 'wrong' panicked
why
";

    #[test]
    fn tests_that_pass_fail_or_skip_are_told_apart() {
        let end = "\nfailures:\n    wrong\n\ntest result: FAILED. 3 passed; 1 failed\n\n\
                   @end tests::fd_again 101 7\n@done 40\n";
        let run = RUN.replace("test never has been running for over 60 seconds\n", "");
        let (ended, results) = read(&(run + end));
        assert_eq!(ended[0].failures, 1);
        assert_eq!((results.passed, results.seconds), (3, 40));
        assert_eq!(results.release, "5.10.0");
        let why = &results.failed["tests::fd_again wrong"];
        assert!(why.contains("panicked\nwhy"), "{why}");
        let skips = &results.skipped["tests::fd_again half"];
        assert!(skips.contains("skipped: vim is not installed"));
        assert_eq!(results.failed.len(), 1);
    }

    #[test]
    fn test_that_does_not_end_is_a_failure_and_so_is_its_program() {
        let (ended, results) = read(&format!("{RUN}\n@end tests::fd_again 137 420\n@done 500\n"));
        assert_eq!(ended[0].seconds, 420);
        assert_eq!(results.failed["tests::fd_again never"], "it did not end");
        assert!(results.failed.contains_key("tests::fd_again wrong"));
        assert!(results.failed["tests::fd_again"].starts_with("it ended with 137"));
    }

    #[test]
    fn machine_that_ends_too_early_is_a_failure() {
        let (_, results) = read(RUN);
        assert!(results.failed.contains_key("tests::fd_again"));
        assert!(read("").1.failed.contains_key("the machine"));
    }

    #[test]
    fn program_that_is_no_harness_passes_by_its_status() {
        let (_, results) = read("@begin demo\nfine\n@end demo 0 3\n@done 9\n");
        assert_eq!((results.passed, results.failed.len()), (1, 0));
        let (_, results) = read("@begin demo\nbad\n@end demo 1 3\n@done 9\n");
        assert_eq!(results.failed["demo"], "it ended with 1\nbad");
    }
}
