//! The counts of a run.

use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use super::edit::Point;
use super::sources::CRATES;
use super::verdict::Verdict;

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

/// A table: a line a crate.
pub(crate) fn table(
    points: &[&Point],
    dropped: &HashSet<u32>,
    verdicts: &HashMap<u32, Verdict>,
) -> String {
    let mut table = format!(
        "{:<14} {:>6} {:>6} {:>6} {:>9} {:>6} {:>10} {:>9} {:>6}\n",
        "crate", "points", "viable", "caught", "timed out", "missed", "unfinished", "unreached", "ratio"
    );
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
            counts.write(name, &mut table);
        }
    }
    table
}

impl Counts {
    fn write(&self, name: &str, table: &mut String) {
        let Counts {
            points,
            viable,
            caught,
            timed_out,
            missed,
            unfinished,
            unreached,
        } = self;
        let judged = caught + timed_out + missed + unfinished + unreached;
        let ratio = if judged == 0 {
            "-".to_owned()
        } else {
            #[allow(clippy::cast_precision_loss, reason = "a few thousand")]
            let ratio = (caught + timed_out) as f64 / judged as f64 * 100.0;
            format!("{ratio:.1}%")
        };
        let _ = writeln!(
            table,
            "{name:<14} {points:>6} {viable:>6} {caught:>6} {timed_out:>9} {missed:>6} \
             {unfinished:>10} {unreached:>9} {ratio:>6}"
        );
        if judged < *viable {
            let _ = writeln!(table, "{:<14} {} not judged", "", viable - judged);
        }
    }
}
