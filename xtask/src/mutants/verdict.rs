//! What became of a mutant, and what is kept of it from one run to the next.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) enum Verdict {
    /// This test failed.
    Caught(String),
    /// This test did not come to its end in time.
    TimedOut(String),
    /// All tests that reach it passed.
    Missed,
    /// The tests that are likely to catch it passed, and the time for one mutant was over.
    Unfinished,
    /// No test reaches it.
    Unreached,
}

/// One line of the file.
#[derive(Debug, Deserialize, Serialize)]
struct Line {
    mutant: String,
    /// Other as soon as a test that reaches it is another.
    key: u64,
    verdict: Verdict,
}

/// The verdicts of this run and of earlier ones.
#[derive(Debug)]
pub(crate) struct Verdicts {
    kept: HashMap<String, (u64, Verdict)>,
    /// `None` where only some of the tests are asked: what they miss another may catch.
    file: Option<File>,
}

impl Verdicts {
    pub(crate) fn open(path: &Path, are_kept: bool) -> Result<Verdicts> {
        let text = fs::read_to_string(path).unwrap_or_default();
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let kept = lines.map(|line: Line| (line.mutant, (line.key, line.verdict)));
        let kept: HashMap<_, _> = kept.collect();
        let open = || OpenOptions::new().create(true).append(true).open(path);
        let file = are_kept.then(open).transpose();
        let file = file.with_context(|| format!("open {}", path.display()))?;
        Ok(Verdicts { kept, file })
    }

    /// If nothing has changed since.
    pub(crate) fn known(&self, mutant: &str, key: u64) -> Option<&Verdict> {
        let (kept, verdict) = self.kept.get(mutant)?;
        (*kept == key).then_some(verdict)
    }

    /// The test that caught it, whatever has changed since.
    pub(crate) fn catcher(&self, mutant: &str) -> Option<&str> {
        match &self.kept.get(mutant)?.1 {
            Verdict::Caught(test) | Verdict::TimedOut(test) => Some(test),
            _ => None,
        }
    }

    pub(crate) fn keep(&mut self, mutant: String, key: u64, verdict: Verdict) -> Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let line = Line {
            mutant,
            key,
            verdict,
        };
        let text = serde_json::to_string(&line)?;
        writeln!(file, "{text}").context("keep a verdict")?;
        self.kept.insert(line.mutant, (key, line.verdict));
        Ok(())
    }
}
