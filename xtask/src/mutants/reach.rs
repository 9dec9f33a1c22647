//! Which test reaches which point, and how long it takes without a mutant.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde::{Deserialize, Serialize};

use super::job::{self, Job};
use super::sandbox::Ended;
use super::tests::Test;
use crate::long::Progress;

/// More than any test takes.
const LIMIT: Duration = Duration::from_secs(120);

/// What is known of a test.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Reach {
    pub(crate) passes: bool,
    pub(crate) seconds: f64,
    pub(crate) points: Vec<u32>,
}

/// What is known of the tests of one harness, by their names.
type Known = HashMap<String, Reach>;

/// Runs every test that is not known yet. The answer is in the order of the tests.
pub(crate) fn record(jobs: &mut [Job], tests: &[Test], folder: &Path) -> Result<Vec<Reach>> {
    fs::create_dir_all(folder)?;
    let mut known: HashMap<u64, Known> = HashMap::new();
    for test in tests {
        known.entry(test.key).or_insert_with(|| {
            let text = fs::read_to_string(file(folder, test.key)).unwrap_or_default();
            serde_json::from_str(&text).unwrap_or_default()
        });
    }
    let is_known = |test: &&Test| known[&test.key].contains_key(&test.name);
    let unknown: Vec<&Test> = tests.iter().filter(|test| !is_known(test)).collect();
    let progress = Mutex::new(Progress::new("what each test reaches", unknown.len()));
    let known = Mutex::new(known);
    job::share(jobs, unknown.into_iter(), |job, test| {
        let reach = one(job, test)?;
        if let Ok(mut progress) = progress.lock() {
            progress.step();
        }
        let mut known = known.lock().map_err(|_| anyhow!("a job panicked"))?;
        let harness = known.entry(test.key).or_default();
        harness.insert(test.name.clone(), reach);
        let text = serde_json::to_string(harness)?;
        fs::write(file(folder, test.key), text).context("keep what a test reaches")
    })?;
    let mut known = known.into_inner().unwrap_or_default();
    let mut take = |test: &Test| known.get_mut(&test.key)?.remove(&test.name);
    let reach = tests
        .iter()
        .map(|test| take(test).context("a test was not run"));
    reach.collect()
}

fn one(job: &mut Job, test: &Test) -> Result<Reach> {
    let (mut ended, mut took, points) = job.record(test, LIMIT)?;
    if ended != Ended::Passed {
        // To record is to do more than the program does: a filter may forbid it.
        (ended, took) = job.run(0, test, LIMIT)?;
    }
    Ok(Reach {
        passes: ended == Ended::Passed,
        seconds: took.as_secs_f64(),
        points,
    })
}

fn file(folder: &Path, key: u64) -> PathBuf {
    folder.join(format!("{key:016x}.json"))
}
