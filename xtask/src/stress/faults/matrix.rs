//! System calls, their errors, and what came of them.

use std::collections::BTreeMap;
use std::fmt;

use crate::long::Table;

use super::share::Case;

/// How many cases of one call and one error had which outcome.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    success: usize,
    fallback: usize,
    error: usize,
    below: usize,
    missed: usize,
    bad: usize,
}

/// What came of all cases.
#[derive(Debug, Default)]
pub(super) struct Matrix {
    cells: BTreeMap<(String, String), Cell>,
    bad: Vec<Case>,
    cases: usize,
}

impl Matrix {
    pub(super) fn add(&mut self, case: Case) {
        self.cases += 1;
        let counts = self.cells.entry(call_of(&case.name)).or_default();
        match case.verdict.as_str() {
            "success" => counts.success += 1,
            "fallback" => counts.fallback += 1,
            "error" => counts.error += 1,
            "below" => counts.below += 1,
            "missed" => counts.missed += 1,
            _ => {
                counts.bad += 1;
                self.bad.push(case);
            }
        }
    }

    pub(super) fn cases(&self) -> usize {
        self.cases
    }

    pub(super) fn bad(&self) -> &[Case] {
        &self.bad
    }

    /// Calls and errors of which no case has come to its call.
    pub(super) fn empty(&self) -> Vec<String> {
        let none =
            |cell: &Cell| cell.success + cell.fallback + cell.error + cell.below + cell.bad == 0;
        let empty = self.cells.iter().filter(|(_, cell)| none(cell));
        empty
            .map(|((call, errno), _)| format!("{call} {errno}"))
            .collect()
    }
}

/// Of `scenario:actor:call:turn:errno`.
fn call_of(name: &str) -> (String, String) {
    let part = |index| name.split(':').nth(index).unwrap_or("-").to_owned();
    (part(2), part(4))
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEADER: [&str; 8] = [
            "call", "errno", "success", "fallback", "error", "below", "missed", "bad",
        ];
        let mut table = Table::new(HEADER);
        let mut sum = Cell::default();
        for ((call, errno), cell) in &self.cells {
            table.row(row(call, errno, cell));
            sum.success += cell.success;
            sum.fallback += cell.fallback;
            sum.error += cell.error;
            sum.below += cell.below;
            sum.missed += cell.missed;
            sum.bad += cell.bad;
        }
        table.row(row("all", "", &sum));
        for index in 2..HEADER.len() {
            table.align_right(index);
        }
        table.fmt(f)?;
        write!(
            f,
            "\nsuccess: as without the fault. fallback: less, as documented. error: typed, with \
             its number.\nbelow: std or the C library ends the process. missed: the call did not \
             come this time."
        )
    }
}

fn row(call: &str, errno: &str, counts: &Cell) -> [String; 8] {
    [
        call.to_owned(),
        errno.to_owned(),
        counts.success.to_string(),
        counts.fallback.to_string(),
        counts.error.to_string(),
        counts.below.to_string(),
        counts.missed.to_string(),
        counts.bad.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &str, verdict: &str) -> Case {
        Case {
            name: name.to_owned(),
            verdict: verdict.to_owned(),
            milliseconds: "7".to_owned(),
            text: String::new(),
        }
    }

    #[test]
    fn call_that_never_came_is_an_empty_cell() {
        let mut matrix = Matrix::default();
        matrix.add(case("spawn:0:openat:1:EMFILE", "missed"));
        matrix.add(case("spawn:0:openat:1:ENFILE", "missed"));
        matrix.add(case("stop:0:openat:2:ENFILE", "error"));
        assert_eq!(matrix.empty(), ["openat EMFILE"]);
        assert!(matrix.bad().is_empty());
    }

    #[test]
    fn verdict_of_another_word_is_a_bad_one() {
        let mut matrix = Matrix::default();
        matrix.add(case("spawn:0:openat:1:EMFILE", "bad"));
        matrix.add(case("spawn:0:openat:1:EMFILE", "new"));
        assert_eq!(matrix.bad().len(), 2);
        assert_eq!(matrix.empty(), Vec::<String>::new());
    }
}
