//! What a run has shown, for whoever has started it.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::kernel::Kernel;
use super::result::Results;
use crate::long::Table;

/// The table, what failed, and what was skipped and why.
pub(super) fn of(results: &[(Kernel, Results)]) -> String {
    let mut text = String::new();
    for (kernel, results) in results {
        for (test, why) in &results.failed {
            let _ = writeln!(text, "{kernel}: {test} FAILED\n{why}\n");
        }
    }
    for (reason, kernels) in reasons(results) {
        let kernels = kernels
            .iter()
            .map(|(kernel, tests)| format!("{kernel}: {tests}"));
        let kernels = kernels.collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "{reason} ({kernels})");
    }
    let _ = writeln!(text, "\n{}", table(results));
    text
}

/// Passed and skipped are counts of tests: one that skipped something has passed, too.
pub(super) fn table(results: &[(Kernel, Results)]) -> Table {
    let mut table = Table::new([
        "kernel", "version", "passed", "failed", "skipped", "minutes",
    ]);
    for (kernel, results) in results {
        table.row([
            kernel.to_string(),
            results.release.clone(),
            results.passed.to_string(),
            results.failed.len().to_string(),
            results.skipped.len().to_string(),
            results.seconds.div_ceil(60).to_string(),
        ]);
    }
    for column in 2..6 {
        table.align_right(column);
    }
    table
}

/// Each reason for a skip, with the number of its tests on each kernel that has it.
pub(super) fn reasons(results: &[(Kernel, Results)]) -> BTreeMap<&str, Vec<(Kernel, usize)>> {
    let mut reasons: BTreeMap<&str, Vec<(Kernel, usize)>> = BTreeMap::new();
    for (kernel, results) in results {
        for reason in results.skipped.values().flatten() {
            let kernels = reasons.entry(reason).or_default();
            match kernels.last_mut() {
                Some((last, tests)) if last == kernel => *tests += 1,
                _ => kernels.push((*kernel, 1)),
            }
        }
    }
    reasons
}
