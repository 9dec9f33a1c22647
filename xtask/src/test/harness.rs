//! The test harness's arguments in nextest's words.

use std::ffi::OsString;

/// The arguments for nextest itself, and those that it takes for the tests it lists.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Harness {
    pub(super) before: Vec<OsString>,
    pub(super) after: Vec<OsString>,
}

/// nextest understands most of the harness's arguments behind a `--` (--exact, --skip, --ignored,
/// --nocapture, filters); two it has as options of its own, and these are moved in front.
/// <https://nexte.st/docs/running/#passing-in-test-binary-arguments>
pub(super) fn for_nextest(args: &[OsString]) -> Harness {
    let mut harness = Harness::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.to_str() {
            Some("--test-threads") => {
                harness.before.push(arg.clone());
                harness.before.extend(args.next().cloned());
            }
            Some(threads) if threads.starts_with("--test-threads=") => {
                harness.before.push(arg.clone());
            }
            Some("--show-output") => harness.before.push("--success-output=final".into()),
            _ => harness.after.push(arg.clone()),
        }
    }
    harness
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nextest_has_as_its_own_option_is_moved_in_front() {
        let args = ["--exact", "--test-threads", "1", "name", "--show-output"];
        let harness = for_nextest(&args.map(OsString::from));
        assert_eq!(
            harness.before,
            ["--test-threads", "1", "--success-output=final"]
        );
        assert_eq!(harness.after, ["--exact", "name"]);
    }
}
