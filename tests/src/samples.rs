//! Figures of the benches that criterion cannot drive: taken turn by turn, shown as medians and
//! ratios.
//!
//! A round runs every contender once, in an order of its own, so that whatever the machine does
//! meanwhile it does to all of them. The raw samples are kept as JSON under `target/samples`.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// All samples of one quantity: a row a contender.
#[derive(Debug, Serialize, Deserialize)]
pub struct Samples {
    /// What was measured, and where: `exit storm, 10000 processes, wall`.
    pub what: String,
    /// Of every sample.
    pub unit: String,
    /// What is varied between several of the same bench: `GiB`, and how much here.
    pub axis: String,
    pub at: f64,
    /// The rows that are compared: what is ours, and the least that the kernel takes.
    pub ours: String,
    pub limit: String,
    pub rows: Vec<Row>,
}

/// The samples of one contender, in the order of the rounds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Row {
    pub name: String,
    pub samples: Vec<f64>,
}

impl Row {
    /// The samples from the smallest to the largest.
    pub fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    /// The value below which `share` of the samples lie; NaN without samples.
    pub fn quantile(&self, share: f64) -> f64 {
        quantile(&self.sorted(), share)
    }

    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }
}

/// The value below which `share` of the samples lie; NaN without samples.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1) as f64;
    sorted
        .get((last * share).round() as usize)
        .copied()
        .unwrap_or(f64::NAN)
}

impl Samples {
    pub fn new(what: impl Into<String>, unit: impl Into<String>) -> Samples {
        Samples {
            what: what.into(),
            unit: unit.into(),
            axis: String::new(),
            at: 0.0,
            ours: String::new(),
            limit: String::new(),
            rows: Vec::new(),
        }
    }

    /// One point of a series.
    pub fn at(mut self, axis: &str, at: f64) -> Samples {
        self.axis = axis.into();
        self.at = at;
        self
    }

    /// Names the rows that a report compares.
    pub fn compare(mut self, ours: &str, limit: &str) -> Samples {
        self.ours = ours.into();
        self.limit = limit.into();
        self
    }

    pub fn push(&mut self, name: &str, sample: f64) {
        match self.rows.iter_mut().find(|row| row.name == name) {
            Some(row) => row.samples.push(sample),
            None => self.rows.push(Row {
                name: name.into(),
                samples: vec![sample],
            }),
        }
    }

    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    pub fn median(&self, name: &str) -> Option<f64> {
        Some(self.row(name)?.median())
    }

    /// Prints a line a contender: median, p90, smallest and largest, and the median's ratio to that
    /// of the limit.
    pub fn print(&self) {
        let base = self.median(&self.limit).unwrap_or(f64::NAN);
        println!("\n{} [{}]", self.what, self.unit);
        println!(
            "  {:<34} {:>11} {:>11} {:>11} {:>11}  {:>8}",
            "", "median", "p90", "min", "max", "ratio"
        );
        for row in &self.rows {
            println!(
                "  {:<34} {:>11.3} {:>11.3} {:>11.3} {:>11.3}  {:>7.2}x",
                row.name,
                row.median(),
                row.quantile(0.9),
                row.quantile(0.0),
                row.quantile(1.0),
                row.median() / base
            );
        }
    }

    /// Keeps the raw samples as `target/samples/NAME.json`.
    pub fn save(all: &[Samples], name: &str) -> anyhow::Result<()> {
        Samples::save_in(&folder(), all, name)
    }

    /// The same where the [`folder`] was asked for before the environment was changed.
    pub fn save_in(folder: &Path, all: &[Samples], name: &str) -> anyhow::Result<()> {
        fs::create_dir_all(folder)?;
        let file = folder.join(format!("{name}.json"));
        fs::write(file, serde_json::to_vec_pretty(all)?)?;
        Ok(())
    }
}

/// `target/samples`, or that of the target folder which the environment names.
pub fn folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .filter(|target| !target.is_empty())
        .map_or_else(
            || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target"),
            PathBuf::from,
        )
        .join("samples")
}

/// In which order `count` contenders have their turns in this round. Another one each round, since
/// what one leaves behind (pages to be copied after a fork, a warm cache) the next one pays or is
/// paid; the same in every run.
pub fn order(round: usize, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    fastrand::Rng::with_seed(round as u64).shuffle(&mut order);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_samples_whatever_their_order() {
        let mut samples = Samples::new("x", "ms");
        for sample in [3.0, 1.0, 2.0, 5.0, 4.0] {
            samples.push("a", sample);
        }
        let row = &samples.rows[0];
        assert_eq!(
            [0.0, 0.5, 0.9, 1.0].map(|share| row.quantile(share)),
            [1.0, 3.0, 5.0, 5.0]
        );
        assert!(quantile(&[], 0.5).is_nan());
        assert!(samples.median("b").is_none());
    }

    #[test]
    fn everybody_follows_everybody_about_as_often() {
        let mut followed = [[0; 5]; 5];
        for round in 0..1000 {
            let order = order(round, 5);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4], "one turn each");
            for pair in order.windows(2) {
                followed[pair[0]][pair[1]] += 1;
            }
        }
        // 4 pairs a round, 20 of them possible: 200 expected.
        for (one, row) in followed.iter().enumerate() {
            for (other, count) in row.iter().enumerate().filter(|(other, _)| *other != one) {
                assert!((120..280).contains(count), "{one} before {other}: {count}");
            }
        }
    }
}
