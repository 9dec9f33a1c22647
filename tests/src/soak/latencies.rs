//! What took how long since the last sample.

use super::wire::Step;
use crate::samples::quantile;

/// Microseconds, a list for each step.
#[derive(Debug, Default)]
pub(super) struct Latencies([Vec<f64>; Step::ALL.len()]);

impl Latencies {
    pub(super) fn add(&mut self, step: Step, ns: u64) {
        self.0[step as usize].push(ns as f64 / 1e3);
    }

    /// The value below which `share` of the latencies of each step lie; NaN where none was taken.
    pub(super) fn quantiles(&mut self, share: f64) -> [f64; Step::ALL.len()] {
        self.0.each_mut().map(|list| {
            list.sort_by(f64::total_cmp);
            quantile(list, share)
        })
    }

    pub(super) fn clear(&mut self) {
        self.0.iter_mut().for_each(Vec::clear);
    }
}
