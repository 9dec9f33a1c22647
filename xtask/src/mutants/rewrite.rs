//! A source file with all its mutants in it, and the way back from its bytes to theirs.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::ops::Range;

use super::edit::{Edit, Form};
use super::find::Found;

/// A file as it is compiled.
#[derive(Debug)]
pub(crate) struct Rewritten {
    pub(crate) text: String,
    /// Where an alternative lies.
    alternatives: Vec<(Range<usize>, u32)>,
    /// Where an edit lies, with what it encloses.
    edits: Vec<(Range<usize>, usize)>,
    /// Where a function's body lies.
    functions: Vec<(Range<usize>, usize)>,
}

/// Something that is written into the file.
struct Insertion {
    at: usize,
    /// Among those at one place.
    rank: (u8, Reverse<usize>, isize),
    edit: usize,
    is_end: bool,
}

impl Rewritten {
    /// Without the mutants whose numbers are in `dropped`.
    pub(crate) fn new(source: &str, found: &Found, dropped: &HashSet<u32>) -> Rewritten {
        let edits: Vec<Edit> = (found.edits.iter())
            .map(|edit| {
                let mut edit = edit.clone();
                edit.alternatives
                    .retain(|one| !dropped.contains(&one.number));
                edit
            })
            .collect();
        let mut insertions = Vec::new();
        for (index, edit) in edits.iter().enumerate() {
            if edit.alternatives.is_empty() {
                continue;
            }
            let number = isize::try_from(index).unwrap_or(isize::MAX);
            let is_empty = edit.at.is_empty();
            // At one place: first what ends there, the inner one first; then what encloses nothing;
            // then what starts there, the outer one first.
            let start = if is_empty {
                (1, Reverse(0), number)
            } else {
                (2, Reverse(edit.at.end), number)
            };
            insertions.push(Insertion {
                at: edit.at.start,
                rank: start,
                edit: index,
                is_end: false,
            });
            if !is_empty {
                insertions.push(Insertion {
                    at: edit.at.end,
                    rank: (0, Reverse(edit.at.start), -number),
                    edit: index,
                    is_end: true,
                });
            }
        }
        insertions.sort_by_key(|insertion| (insertion.at, insertion.rank));

        let mut written = Rewritten {
            text: String::with_capacity(source.len() * 4),
            alternatives: Vec::new(),
            edits: Vec::new(),
            functions: Vec::new(),
        };
        // Where bytes of the source went: each entry holds from its byte on.
        let mut moved = vec![(0, 0)];
        let mut starts = vec![0; edits.len()];
        let mut done = 0;
        for insertion in insertions {
            written.text += &source[done..insertion.at];
            done = insertion.at;
            let edit = &edits[insertion.edit];
            let (before, places, behind) = edit.around();
            let start = written.text.len();
            if insertion.is_end {
                written.text += behind;
                let whole = starts[insertion.edit]..written.text.len();
                written.edits.push((whole, insertion.edit));
            } else {
                starts[insertion.edit] = start;
                written.text += &before;
                let places = places.into_iter();
                written
                    .alternatives
                    .extend(places.map(|(at, number)| (start + at.start..start + at.end, number)));
                if edit.form == Form::Return || edit.form == Form::NoArm {
                    let whole = start..written.text.len();
                    written.edits.push((whole, insertion.edit));
                }
            }
            moved.push((done, written.text.len() - done));
        }
        written.text += &source[done..];
        let to = |byte: usize| {
            let after = moved.partition_point(|&(from, _)| from < byte);
            byte + moved[after.saturating_sub(1)].1
        };
        written.functions = (found.functions.iter().enumerate())
            .map(|(index, at)| (to(at.start)..to(at.end), index))
            .collect();
        written
    }

    /// The numbers of those that may be why the compiler complains about these bytes: the fewest
    /// that it can be about.
    pub(crate) fn blamed(
        &self,
        found: &Found,
        at: &Range<usize>,
        dropped: &HashSet<u32>,
    ) -> Vec<u32> {
        let inner = |list: &[(Range<usize>, usize)]| {
            let around = list.iter().filter(|(whole, _)| encloses(whole, at));
            around
                .min_by_key(|(whole, _)| whole.len())
                .map(|&(_, index)| index)
        };
        let numbers = |edit: &Edit| -> Vec<u32> {
            let numbers = edit.alternatives.iter().map(|one| one.number);
            numbers.filter(|number| !dropped.contains(number)).collect()
        };
        let alternatives = self.alternatives.iter();
        let mut within = alternatives.filter(|(whole, _)| encloses(whole, at));
        if let Some((_, number)) = within.next() {
            return vec![*number];
        }
        if let Some(index) = inner(&self.edits) {
            return numbers(&found.edits[index]);
        }
        let Some(function) = inner(&self.functions) else {
            return Vec::new();
        };
        let function = &found.functions[function];
        let edits = found.edits.iter();
        let inside: Vec<&Edit> = edits.filter(|edit| encloses(function, &edit.at)).collect();
        // A statement that is missing is found out elsewhere: a value that was never set, a block
        // that comes to its end.
        for form in [Some(Form::Without), None] {
            let inside = inside
                .iter()
                .filter(|edit| form.is_none_or(|form| edit.form == form));
            let blamed: Vec<u32> = inside.flat_map(|edit| numbers(edit)).collect();
            if !blamed.is_empty() {
                return blamed;
            }
        }
        Vec::new()
    }
}

fn encloses(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::cfg::Cfg;
    use super::super::find;
    use super::*;

    const SOURCE: &str = "fn f(a: u8) -> ! { match a + 1 < 3 { true => g(), _ => h() } }";

    fn found() -> Found {
        find::points("f.rs", SOURCE, &Cfg::of([]), &HashSet::new(), 1).unwrap()
    }

    #[test]
    fn file_without_mutants_is_as_it_was() {
        let all = (1..100).collect();
        assert_eq!(Rewritten::new(SOURCE, &found(), &all).text, SOURCE);
    }

    #[test]
    fn file_with_all_mutants_parses_and_asks_for_each() {
        let found = found();
        let written = Rewritten::new(SOURCE, &found, &HashSet::new()).text;
        assert!(syn::parse_file(&written).is_ok(), "{written}");
        for point in &found.points {
            let ask = format!("on({})", point.number);
            assert_eq!(written.matches(&ask).count(), 1, "{ask} in {written}");
        }
    }

    #[test]
    fn mutant_is_blamed_for_a_fault_in_its_own_text() {
        let found = found();
        let none = HashSet::new();
        let written = Rewritten::new(SOURCE, &found, &none);
        let point = found
            .points
            .iter()
            .find(|point| point.what.starts_with("- instead"));
        let number = point.unwrap().number;
        let at = written.text.find("(a) - (1)").unwrap();
        assert_eq!(written.blamed(&found, &(at..at + 3), &none), [number]);
    }

    #[test]
    fn fault_that_no_mutant_encloses_is_that_of_those_in_its_function() {
        let found = found();
        let none = HashSet::new();
        let written = Rewritten::new(SOURCE, &found, &none);
        let at = written.text.find("h()").unwrap();
        let blamed = written.blamed(&found, &(at..at + 3), &none);
        assert_eq!(blamed.len(), found.points.len());
        assert!(written.blamed(&found, &(0..2), &none).is_empty());
    }
}
