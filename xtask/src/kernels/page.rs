//! The page of kernels: what the last run on each kernel has shown.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use xshell::{Shell, cmd};

use super::kernel::{self, Kernel};
use super::result::Results;
use super::summary;
use crate::long::Table;
use crate::shell;

const HEAD: &str = "\
# Kernels

Written by `cargo xtask kernels`: it boots real kernels (Debian's packages, in QEMU without hardware
support, two processors, 2 GiB) and runs the programs full of tests there. A test that passed, but
left something out because the kernel or the system in the machine lacks it, is counted in both
columns, passed and skipped. \"Quick\" is the part that `cargo xtask kernels --quick` runs:
watchdog, spawn and demo. The first row is the oldest kernel that the crates claim to be for.

";

/// Of one kernel, kept until the next run on it.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    date: String,
    part: String,
    results: Results,
}

/// Keeps what a run has shown. `part` is what it has run.
pub(super) fn keep(shell: &Shell, part: &str, results: &[(Kernel, Results)]) -> Result<()> {
    let date = cmd!(shell, "date --utc +%F").quiet().read()?;
    for (kernel, results) in results {
        let kept = Kept {
            date: date.clone(),
            part: part.to_owned(),
            results: results.clone(),
        };
        fs::write(file(*kernel), serde_json::to_string_pretty(&kept)?)
            .with_context(|| format!("keep the results of {kernel}"))?;
    }
    Ok(())
}

/// Writes the page, from what is kept of each kernel.
pub(super) fn write() -> Result<()> {
    let mut all = Vec::new();
    for kernel in kernel::ALL {
        if let Ok(text) = fs::read_to_string(file(kernel)) {
            let kept: Kept = serde_json::from_str(&text)
                .with_context(|| format!("read the results of {kernel}"))?;
            all.push((kernel, kept));
        }
    }
    let page = shell::root().join("docs/kernels").with_extension("md");
    fs::write(&page, text(&all)).with_context(|| format!("write {}", page.display()))
}

fn file(kernel: Kernel) -> PathBuf {
    let folder = shell::target().join("kernels").join(kernel.id());
    folder.join("results.json")
}

fn text(all: &[(Kernel, Kept)]) -> String {
    let mut table = Table::new([
        "kernel", "version", "what ran", "date", "passed", "failed", "skipped",
    ]);
    for (kernel, kept) in all {
        let results = &kept.results;
        table.row([
            kernel.to_string(),
            results.release.clone(),
            kept.part.clone(),
            kept.date.clone(),
            results.passed.to_string(),
            results.failed.len().to_string(),
            results.skipped.len().to_string(),
        ]);
    }
    for column in 4..7 {
        table.align_right(column);
    }
    let mut text = format!("{HEAD}{table}\n");
    let results: Vec<_> = all
        .iter()
        .map(|(kernel, kept)| (*kernel, kept.results.clone()))
        .collect();
    failures(&mut text, &results);
    skips(&mut text, &results);
    text
}

fn failures(text: &mut String, all: &[(Kernel, Results)]) {
    if all.iter().all(|(_, results)| results.failed.is_empty()) {
        return;
    }
    text.push_str("\n## What failed\n\n");
    for (kernel, results) in all {
        for test in results.failed.keys() {
            let _ = writeln!(text, "- {kernel}: `{test}`");
        }
    }
}

fn skips(text: &mut String, all: &[(Kernel, Results)]) {
    text.push_str("\n## What was skipped\n\nIn parentheses: the number of tests.\n\n");
    for (reason, kernels) in summary::reasons(all) {
        let kernels = kernels
            .iter()
            .map(|(kernel, tests)| format!("{kernel} ({tests})"));
        let kernels = kernels.collect::<Vec<_>>().join(", ");
        let reason = reason
            .trim_start_matches("skipped")
            .trim_start_matches(": ");
        let _ = writeln!(text, "- {}: {kernels}", reason.trim());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_has_a_row_a_kernel_and_names_what_failed_and_what_was_skipped() {
        let [oldest, newest] = Kernel::oldest_and_newest();
        let mut results = Results {
            release: "5.10.0".into(),
            passed: 3,
            ..Results::default()
        };
        let skip = |name: &str| (name.to_owned(), ["skipped: no vim".to_owned()].into());
        results.skipped = [skip("a"), skip("b")].into();
        let mut failing = results.clone();
        failing.failed.insert("c".into(), "why".into());
        let kept = |results| Kept {
            date: "2026-01-02".into(),
            part: "quick".into(),
            results,
        };
        let page = text(&[(oldest, kept(results)), (newest, kept(failing))]);
        let row = page.lines().find(|line| line.starts_with("| 5.10 x86-64 "));
        let cells = row.expect("a row").split('|').map(str::trim);
        let cells: Vec<&str> = cells.collect();
        assert_eq!(
            cells[2..8],
            ["5.10.0", "quick", "2026-01-02", "3", "0", "2"]
        );
        assert!(page.contains("- newest x86-64: `c`\n"), "{page}");
        let skipped = "- no vim: 5.10 x86-64 (2), newest x86-64 (2)\n";
        assert!(page.ends_with(skipped), "{page}");
    }
}
