//! The samples that the benches keep, and which run they are of.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::machine::machine;
use crate::samples::Samples;

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

    /// Beside the samples, once all of them are there.
    pub(super) fn keep(&self, folder: &Path) -> Result<()> {
        fs::write(folder.join(RUN), serde_json::to_vec_pretty(self)?)
            .context("keep what run it was")
    }
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
