//! What has become of each quantity, after the warm-up.

use std::fmt;

use comfy_table::{CellAlignment, presets};

use super::quantity::Quantity;
use super::trend::Trend;
use crate::samples::quantile;

/// What was seen at an instant, in seconds from the start.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) at: f64,
    pub(super) values: Vec<f64>,
}

/// The part of the time that counts for nothing.
const WARM_UP: f64 = 0.2;

/// So many points a slope goes through, each the median of its samples. Samples that follow each
/// other are too much alike to count as one each.
const BLOCKS: usize = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The whole confidence interval lies below the tolerance.
    Flat,
    /// The interval holds the tolerance: growth is not shown, nor is it excluded.
    WithinNoise,
    /// The whole interval lies above the tolerance.
    Grows,
    /// Not judged, or too few samples.
    Untold,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Flat => "flat",
            Verdict::WithinNoise => "within noise",
            Verdict::Grows => "GROWS",
            Verdict::Untold => "-",
        })
    }
}

/// A quantity over the whole run.
#[derive(Debug)]
struct Row {
    name: String,
    median: f64,
    /// Slope times the time after the warm-up.
    growth: Option<Trend>,
    tolerance: Option<f64>,
}

impl Row {
    fn verdict(&self) -> Verdict {
        match (self.growth, self.tolerance) {
            (Some(growth), Some(tolerance)) if growth.high < tolerance => Verdict::Flat,
            (Some(growth), Some(tolerance)) if growth.low < tolerance => Verdict::WithinNoise,
            (Some(_), Some(_)) => Verdict::Grows,
            _ => Verdict::Untold,
        }
    }
}

/// All quantities over the whole run.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Row>,
    samples: usize,
    seconds: f64,
}

impl Table {
    pub(super) fn of(samples: &[Sample]) -> Table {
        let end = samples.last().map_or(0.0, |sample| sample.at);
        let start = end * WARM_UP;
        let counted: Vec<&Sample> = samples.iter().filter(|sample| sample.at >= start).collect();
        let rows = Quantity::all().into_iter().enumerate();
        let rows = rows.map(|(column, quantity)| {
            let points: Vec<(f64, f64)> = counted
                .iter()
                .map(|sample| (sample.at, sample.values[column]))
                .filter(|(_, value)| !value.is_nan())
                .collect();
            let median = median(points.iter().map(|point| point.1));
            let over = |slope: f64| slope * (end - start);
            Row {
                name: quantity.name(),
                median,
                growth: Trend::of(&blocks(&points)).map(|trend| Trend {
                    slope: over(trend.slope),
                    low: over(trend.low),
                    high: over(trend.high),
                }),
                tolerance: quantity.tolerance(median),
            }
        });
        Table {
            rows: rows.collect(),
            samples: counted.len(),
            seconds: end - start,
        }
    }

    /// The names of what grows.
    pub(super) fn growing(&self) -> Vec<&str> {
        let growing = |row: &&Row| row.verdict() == Verdict::Grows;
        let rows = self.rows.iter().filter(growing);
        rows.map(|row| row.name.as_str()).collect()
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

/// At most [`BLOCKS`] points instead of many.
fn blocks(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let size = points.len().div_ceil(BLOCKS).max(1);
    let blocks = points.chunks(size).map(|block| {
        let middle = median(block.iter().map(|point| point.0));
        (middle, median(block.iter().map(|point| point.1)))
    });
    blocks.collect()
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Table {
            samples, seconds, ..
        } = self;
        writeln!(
            f,
            "{samples} samples in {seconds:.0} s after the warm-up, and the growth over these"
        )?;
        let mut table = comfy_table::Table::new();
        table.load_preset(presets::ASCII_MARKDOWN);
        table.set_header(["", "median", "growth", "95 % confidence", "allowed", ""]);
        for row in &self.rows {
            let number = |value: Option<f64>| value.map_or("-".to_owned(), |it| format!("{it:.2}"));
            let interval = row.growth.map_or("-".to_owned(), |growth| {
                format!("{:.2} to {:.2}", growth.low, growth.high)
            });
            table.add_row([
                row.name.clone(),
                format!("{:.1}", row.median),
                number(row.growth.map(|growth| growth.slope)),
                interval,
                number(row.tolerance),
                row.verdict().to_string(),
            ]);
        }
        for column in 1..5 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The verdict on a quantity of which `value` is sampled; all others stay as they are.
    fn verdict(quantity: Quantity, value: impl Fn(u32) -> f64) -> Verdict {
        let all = Quantity::all();
        let column = all.iter().position(|other| *other == quantity);
        let column = column.expect("a quantity");
        let sample = |at| {
            let mut values = vec![5.0; all.len()];
            values[column] = value(at);
            Sample {
                at: f64::from(at),
                values,
            }
        };
        let samples: Vec<Sample> = (0..500).map(sample).collect();
        let table = Table::of(&samples);
        for (other, row) in table.rows.iter().enumerate() {
            let judged = all[other].tolerance(5.0).is_some();
            let expected = if judged {
                Verdict::Flat
            } else {
                Verdict::Untold
            };
            assert!(other == column || row.verdict() == expected, "{row:?}");
        }
        table.rows[column].verdict()
    }

    const PROCESSES: Quantity = Quantity::Processes;

    #[test]
    fn what_stays_is_flat() {
        assert_eq!(verdict(PROCESSES, |_| 3.0), Verdict::Flat);
    }

    #[test]
    fn what_grows_in_the_warm_up_alone_is_flat() {
        assert_eq!(
            verdict(PROCESSES, |at| f64::from(at.min(90))),
            Verdict::Flat
        );
    }

    #[test]
    fn one_lost_in_a_hundred_samples_grows() {
        assert_eq!(verdict(PROCESSES, |at| f64::from(at / 100)), Verdict::Grows);
    }

    #[test]
    fn what_shrinks_is_flat() {
        assert_eq!(
            verdict(PROCESSES, |at| 500.0 - f64::from(at)),
            Verdict::Flat
        );
    }

    #[test]
    fn one_step_is_within_noise() {
        let step = |at| if at > 300 { 90.0 } else { 5.0 };
        assert_eq!(verdict(PROCESSES, step), Verdict::WithinNoise);
    }

    #[test]
    fn samples_without_a_value_are_passed_over() {
        let step = super::super::wire::Step::Stop;
        let value = |at| if at % 2 == 0 { f64::NAN } else { 7.0 };
        assert_eq!(verdict(Quantity::Quick(step), value), Verdict::Flat);
    }
}
