//! The counts of a run.

use std::collections::{HashMap, HashSet};

use super::edit::Point;
use super::sources::CRATES;
use super::verdict::Verdict;
use crate::long::Table;

#[derive(Debug, Default)]
struct Counts {
    points: usize,
    viable: usize,
    caught: usize,
    timed_out: usize,
    missed: usize,
    unfinished: usize,
    unreached: usize,
}

/// A line a crate.
pub(crate) fn table(
    points: &[&Point],
    dropped: &HashSet<u32>,
    verdicts: &HashMap<u32, Verdict>,
) -> Table {
    let mut table = Table::new(HEADER);
    for column in 1..HEADER.len() {
        table.align_right(column);
    }
    for name in CRATES {
        let mut counts = Counts::default();
        for point in points.iter().filter(|point| point.package() == name) {
            counts.points += 1;
            counts.viable += usize::from(!dropped.contains(&point.number));
            match verdicts.get(&point.number) {
                Some(Verdict::Caught(_)) => counts.caught += 1,
                Some(Verdict::TimedOut(_)) => counts.timed_out += 1,
                Some(Verdict::Missed) => counts.missed += 1,
                Some(Verdict::Unfinished) => counts.unfinished += 1,
                Some(Verdict::Unreached) => counts.unreached += 1,
                None => {}
            }
        }
        if counts.points > 0 {
            table.row(counts.cells(name));
        }
    }
    table
}

const HEADER: [&str; 10] = [
    "crate",
    "points",
    "viable",
    "caught",
    "timed out",
    "missed",
    "unfinished",
    "unreached",
    "not judged",
    "ratio",
];

impl Counts {
    fn cells(&self, name: &str) -> [String; HEADER.len()] {
        let found = self.caught + self.timed_out;
        let judged = found + self.missed + self.unfinished + self.unreached;
        #[allow(clippy::cast_precision_loss, reason = "a few thousand")]
        let ratio = found as f64 / judged.max(1) as f64 * 100.0;
        [
            name.to_owned(),
            self.points.to_string(),
            self.viable.to_string(),
            self.caught.to_string(),
            self.timed_out.to_string(),
            self.missed.to_string(),
            self.unfinished.to_string(),
            self.unreached.to_string(),
            self.viable.saturating_sub(judged).to_string(),
            format!("{ratio:.1} %"),
        ]
    }
}
