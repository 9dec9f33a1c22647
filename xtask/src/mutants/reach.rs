//! Which test reaches which point, and how long it takes without a mutant.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::job::{self, Job};
use super::sandbox::Ended;
use super::tests::Test;

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

/// Runs every test that is not known yet; the answer is in the order of the tests, and `None` where
/// a test was not come to.
pub(crate) fn record(
    jobs: &mut [Job],
    tests: &[Test],
    folder: &Path,
    stop: &AtomicBool,
    told: impl Fn(&Test) + Sync,
) -> Result<Vec<Option<Reach>>> {
    fs::create_dir_all(folder)?;
    let mut known: HashMap<u64, Known> = HashMap::new();
    for test in tests {
        known.entry(test.key).or_insert_with(|| {
            let text = fs::read_to_string(file(folder, test.key)).unwrap_or_default();
            serde_json::from_str(&text).unwrap_or_default()
        });
    }
    let has = |known: &HashMap<u64, Known>, test: &Test| known[&test.key].contains_key(&test.name);
    let unknown: Vec<&Test> = tests.iter().filter(|test| !has(&known, test)).collect();
    let known = Mutex::new(known);
    job::share(jobs, unknown.into_iter(), stop, |job, test| {
        let (ended, took, points) = job.record(test, LIMIT)?;
        let (mut passes, mut took) = (ended == Ended::Passed, took);
        if !passes {
            // To record is to do more than the program does: a filter may forbid it.
            let (ended, again) = job.run(0, test, LIMIT)?;
            (passes, took) = (ended == Ended::Passed, again);
        }
        if stop.load(std::sync::atomic::Ordering::Relaxed) {
            return Ok(());
        }
        told(test);
        let reach = Reach {
            passes,
            seconds: took.as_secs_f64(),
            points,
        };
        let Ok(mut known) = known.lock() else {
            return Ok(());
        };
        let harness = known.entry(test.key).or_default();
        harness.insert(test.name.clone(), reach);
        let text = serde_json::to_string(harness)?;
        fs::write(file(folder, test.key), text).context("keep what a test reaches")
    })?;
    let known = known.into_inner().unwrap_or_default();
    let of = |test: &Test| known.get(&test.key)?.get(&test.name).cloned();
    Ok(tests.iter().map(of).collect())
}

fn file(folder: &Path, key: u64) -> PathBuf {
    folder.join(format!("{key:016x}.json"))
}
