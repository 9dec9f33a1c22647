//! What became of all cases, by kind.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};

use super::case::{Kind, METHODS};
use super::line::Line;
use crate::samples::quantile;

/// All cases of a kind.
#[derive(Debug)]
struct Row {
    kind: Kind,
    /// By the ways of creating a child.
    kills: Vec<u64>,
    with_sentinel: u64,
    steps: u64,
    survivors: usize,
    settled_ms: Vec<f64>,
}

#[derive(Debug)]
pub(super) struct Tally(Vec<Row>);

impl Tally {
    pub(super) fn new(kinds: &[Kind]) -> Tally {
        let row = |kind: &Kind| Row {
            kind: *kind,
            kills: vec![0; METHODS.len()],
            with_sentinel: 0,
            steps: 0,
            survivors: 0,
            settled_ms: Vec::new(),
        };
        Tally(kinds.iter().map(row).collect())
    }

    /// Counts a case that has passed.
    pub(super) fn add(&mut self, line: &Line) {
        let Line::Passed {
            kind,
            method,
            sentinel,
            steps,
            survivors,
            settled_us,
        } = line
        else {
            return;
        };
        let Some(row) = self.0.iter_mut().find(|row| row.kind == *kind) else {
            return;
        };
        let named = |known: &&crate::clone_method::CloneMethod| format!("{known:?}") == *method;
        if let Some(column) = METHODS.iter().position(|known| named(&known)) {
            row.kills[column] += 1;
        }
        row.with_sentinel += u64::from(*sentinel);
        row.steps += u64::from(*steps);
        row.survivors += survivors;
        row.settled_ms.push(*settled_us as f64 / 1e3);
    }

    pub(super) fn kills(&self) -> u64 {
        self.0.iter().flat_map(|row| &row.kills).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_preset(presets::ASCII_MARKDOWN);
        let mut header = vec!["kind".to_owned(), "kills".to_owned()];
        header.extend(
            METHODS
                .iter()
                .map(|method| format!("{method:?}").to_lowercase()),
        );
        header.extend(
            [
                "sentinel",
                "steps",
                "found again",
                "p50 (ms)",
                "longest (ms)",
            ]
            .map(str::to_owned),
        );
        let columns = header.len();
        table.set_header(header);
        for row in &self.0 {
            let mut settled = row.settled_ms.clone();
            settled.sort_by(f64::total_cmp);
            let mut cells = vec![row.kind.to_string()];
            cells.push(row.kills.iter().sum::<u64>().to_string());
            cells.extend(row.kills.iter().map(u64::to_string));
            cells.push(row.with_sentinel.to_string());
            cells.push(row.steps.to_string());
            cells.push(row.survivors.to_string());
            cells.extend([0.5, 1.0].map(|share| format!("{:.1}", quantile(&settled, share))));
            table.add_row(cells);
        }
        for column in 1..columns {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.fmt(f)
    }
}
