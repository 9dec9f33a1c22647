//! Whether ours has become slower beside the limit than the committed baseline says.
//!
//! Compared are ratios of medians, ours to the limit, which a faster or slower machine leaves as
//! they are. How far two runs may differ by chance is measured from the run's own rounds: the ratio
//! in the first half of them against that in the second, and in the even ones against the odd. A
//! half has twice the variance of the whole, so the logarithms of two halves differ by two standard
//! deviations of the whole, and two runs by 1.4. The band is twice the largest difference, here or
//! in the baseline, and a floor for what is the same throughout a run and not between two.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::samples::{Row, Samples, quantile};

/// Layout of the address space, place of the processes, temperature.
const FLOOR: f64 = 0.05;
/// Above that a doubling would go unnoticed, and nothing is said.
const NOISY: f64 = 1.0;

/// The ratio of one quantity, and how far its halves lie apart: 0.1 is 10 %.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Ratio {
    ratio: f64,
    noise: f64,
}

/// By what was measured.
pub(super) type Ratios = BTreeMap<String, Ratio>;

/// Of all samples that compare something.
pub(super) fn measured(all: &[Samples]) -> Ratios {
    let ratios = all.iter().filter_map(|samples| {
        let (ours, limit) = (samples.row(&samples.ours)?, samples.row(&samples.limit)?);
        Some((samples.what.clone(), Ratio::of(ours, limit)?))
    });
    ratios.collect()
}

impl Ratio {
    /// `None` where there are too few samples, or a median is zero.
    fn of(ours: &Row, limit: &Row) -> Option<Ratio> {
        let of = |chosen: fn(usize, usize) -> bool| {
            let median = |row: &Row| {
                let count = row.samples.len();
                let rounds = row.samples.iter().enumerate();
                let half = rounds.filter(|(round, _)| chosen(*round, count));
                let mut half: Vec<f64> = half.map(|(_, sample)| *sample).collect();
                half.sort_by(f64::total_cmp);
                quantile(&half, 0.5)
            };
            let ratio = median(ours) / median(limit);
            (ratio.is_finite() && ratio > 0.0).then_some(ratio)
        };
        let apart = |one: f64, other: f64| (one / other).ln().abs().exp_m1();
        let halves = apart(
            of(|round, count| round < count / 2)?,
            of(|round, count| round >= count / 2)?,
        );
        let turns = apart(
            of(|round, _| round % 2 == 0)?,
            of(|round, _| round % 2 == 1)?,
        );
        Some(Ratio {
            ratio: of(|_, _| true)?,
            noise: halves.max(turns),
        })
    }
}

pub(super) fn load(file: &Path) -> Result<Ratios> {
    let text = fs::read(file).context("no baseline: `cargo xtask bench --baseline`")?;
    serde_json::from_slice(&text).with_context(|| format!("read {}", file.display()))
}

pub(super) fn save(file: &Path, ratios: &Ratios) -> Result<()> {
    let text = serde_json::to_string_pretty(ratios)? + "\n";
    fs::write(file, text).with_context(|| format!("write {}", file.display()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    Within,
    Better,
    Regression,
    Noisy,
}

/// What became of every quantity that both runs have.
#[derive(Debug)]
pub(super) struct Verdict {
    lines: Vec<(String, Ratio, Ratio, f64, Judgement)>,
    /// Measured in one of the runs only.
    unpaired: Vec<String>,
}

pub(super) fn against(baseline: &Ratios, measured: &Ratios) -> Verdict {
    let mut lines = Vec::new();
    for (what, now) in measured {
        let Some(before) = baseline.get(what) else {
            continue;
        };
        let band = FLOOR + 2.0 * now.noise.max(before.noise);
        let judgement = if band > NOISY {
            Judgement::Noisy
        } else if now.ratio > before.ratio * (1.0 + band) {
            Judgement::Regression
        } else if now.ratio * (1.0 + band) < before.ratio {
            Judgement::Better
        } else {
            Judgement::Within
        };
        lines.push((what.clone(), *before, *now, band, judgement));
    }
    let one_only = |one: &Ratios, other: &Ratios| -> Vec<String> {
        let names = one.keys().filter(|what| !other.contains_key(*what));
        names.cloned().collect()
    };
    let mut unpaired = one_only(measured, baseline);
    unpaired.extend(one_only(baseline, measured));
    Verdict { lines, unpaired }
}

impl Verdict {
    /// No regression, and something was judged.
    pub(super) fn passed(&self) -> bool {
        let judged = |judgement: Judgement| judgement != Judgement::Noisy;
        self.lines.iter().any(|line| judged(line.4))
            && self
                .lines
                .iter()
                .all(|line| line.4 != Judgement::Regression)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:<72} {:>8} {:>8} {:>7}",
            "ratio to the limit", "baseline", "now", "band"
        )?;
        for (what, before, now, band, judgement) in &self.lines {
            let judgement = match judgement {
                Judgement::Within => "",
                Judgement::Better => "better",
                Judgement::Regression => "REGRESSION",
                Judgement::Noisy => "too noisy to judge",
            };
            let band = band * 100.0;
            writeln!(
                f,
                "{what:<72} {:>8.3} {:>8.3} {band:>5.0} %  {judgement}",
                before.ratio, now.ratio
            )?;
        }
        for what in &self.unpaired {
            writeln!(f, "{what:<72} in one of the two only")?;
        }
        writeln!(f, "{}", if self.passed() { "passed" } else { "FAILED" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hundred rounds of two contenders, each sample up to `noise` above its base.
    fn run(seed: u64, ours: f64, limit: f64, noise: f64) -> Ratios {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut sample = |base: f64| {
            // xorshift64: enough for a spread.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let share =
                f64::from(u32::try_from(state >> 32).expect("half of it")) / 4_294_967_296.0;
            base * (1.0 + noise * share)
        };
        let mut row = |name: &str, base: f64| Row {
            name: name.into(),
            samples: (0..100).map(|_| sample(base)).collect(),
        };
        let rows = vec![row("ours", ours), row("limit", limit)];
        measured(&[Samples {
            what: "x".into(),
            unit: "us".into(),
            axis: String::new(),
            at: 0.0,
            ours: "ours".into(),
            limit: "limit".into(),
            rows,
        }])
    }

    fn judged(baseline: &Ratios, now: &Ratios) -> Judgement {
        against(baseline, now).lines[0].4
    }

    #[test]
    fn regression_fails_the_check() {
        for seed in 1..200 {
            let baseline = run(seed, 11.0, 10.0, 0.2);
            let verdict = against(&baseline, &run(seed + 1000, 16.5, 10.0, 0.2));
            assert_eq!(verdict.lines[0].4, Judgement::Regression, "{verdict}");
            assert!(!verdict.passed());
        }
    }

    #[test]
    fn noise_and_another_machine_pass_the_check() {
        for seed in 1..500 {
            for noise in [0.0, 0.1, 0.4] {
                let baseline = run(seed, 11.0, 10.0, noise);
                let verdict = against(&baseline, &run(seed + 1000, 55.0, 50.0, noise));
                assert_ne!(verdict.lines[0].4, Judgement::Regression, "{verdict}");
                assert!(verdict.passed());
            }
        }
    }

    #[test]
    fn improvement_is_none() {
        let (slow, fast) = (run(1, 16.5, 10.0, 0.1), run(2, 11.0, 10.0, 0.1));
        assert_eq!(judged(&slow, &fast), Judgement::Better);
        assert!(against(&slow, &fast).passed());
    }

    #[test]
    fn nothing_to_compare_is_no_pass() {
        let now = run(1, 11.0, 10.0, 0.1);
        assert!(!against(&Ratios::new(), &now).passed());
        let mut noisy = now.clone();
        noisy.get_mut("x").expect("one").noise = 0.6;
        assert_eq!(judged(&noisy, &now), Judgement::Noisy);
        assert!(!against(&noisy, &now).passed());
    }
}
