//! The samples that the benches keep as JSON, and what is computed from them.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// As `workspace_tests::samples` writes it: one quantity, a row a contender.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Samples {
    pub(super) what: String,
    pub(super) unit: String,
    pub(super) axis: String,
    pub(super) at: f64,
    pub(super) ours: String,
    pub(super) limit: String,
    pub(super) rows: Vec<Row>,
}

/// In the order of the rounds.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) samples: Vec<f64>,
}

impl Row {
    pub(super) fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    pub(super) fn median(&self) -> f64 {
        quantile(&self.sorted(), 0.5)
    }
}

impl Samples {
    pub(super) fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }
}

/// The value below which `share` of the samples lie; NaN without samples.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a place among some thousand samples"
)]
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = (sorted.len().saturating_sub(1) as f64 * share).round();
    sorted.get(place as usize).copied().unwrap_or(f64::NAN)
}

/// The run that the samples are of.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Run {
    pub(super) quick: bool,
    pub(super) seconds: u64,
    pub(super) machine: String,
}

const RUN: &str = "run.json";

impl Run {
    pub(super) fn here(quick: bool, seconds: u64) -> Run {
        Run {
            quick,
            seconds,
            machine: machine(),
        }
    }
}

/// Kernel, processor and memory, as far as /proc tells.
pub(crate) fn machine() -> String {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(':'));
        value.map_or_else(|| "unknown".into(), |(_, value)| value.trim().to_owned())
    };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let rustc = Command::new("rustc").arg("--version").output();
    let rustc = rustc.map_or_else(
        |_| "rustc unknown".into(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    );
    format!(
        "Linux {}, {} x {}, {} of memory, {rustc}",
        kernel.trim(),
        std::thread::available_parallelism().map_or(1, usize::from),
        field("/proc/cpuinfo", "model name"),
        field("/proc/meminfo", "MemTotal"),
    )
}

/// Beside the samples, once all of them are there.
pub(super) fn keep(folder: &Path, run: &Run) -> Result<()> {
    fs::write(folder.join(RUN), serde_json::to_vec_pretty(run)?).context("keep what run it was")
}

/// All samples of the last whole run, in the order of the files' names.
pub(super) fn load(folder: &Path) -> Result<(Run, Vec<Samples>)> {
    let run = fs::read(folder.join(RUN))
        .context("no whole run is kept: `cargo xtask bench` makes one")?;
    let run = serde_json::from_slice(&run).context("read what run it was")?;
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).context("list the samples")? {
        let file = entry.context("list the samples")?.path();
        if file
            .extension()
            .is_some_and(|extension| extension == "json")
            && !file.ends_with(RUN)
        {
            files.push(file);
        }
    }
    files.sort();
    let mut all: Vec<Samples> = Vec::new();
    for file in files {
        let text = fs::read(&file)?;
        let some: Vec<Samples> =
            serde_json::from_slice(&text).with_context(|| format!("read {}", file.display()))?;
        all.extend(some);
    }
    // The rows come in the order of the first round, which is nobody's.
    for samples in &mut all {
        let (ours, limit) = (&samples.ours, &samples.limit);
        samples.rows.sort_by_key(|row| {
            let place = [limit, ours].iter().position(|name| **name == row.name);
            (place.unwrap_or(2), row.name.clone())
        });
    }
    ensure!(!all.is_empty(), "no samples in {}", folder.display());
    Ok((run, all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples() {
        let sorted = [1.0, 2.0, 3.0, 4.0, 5.0];
        assert_eq!(
            [0.0, 0.5, 0.99, 1.0].map(|share| quantile(&sorted, share).to_string()),
            ["1", "3", "5", "5"]
        );
        assert!(quantile(&[], 0.5).is_nan());
    }
}
