//! Writing down what happens, and putting it on the screen in the order in which it happened.

use super::document::{Document, Entry, Kind};
use super::text::Text;
use crate::clock;

pub(super) struct Record<'a> {
    pub(super) document: &'a mut Document,
    text: &'a Text,
    /// When the run began, in nanoseconds of `CLOCK_MONOTONIC`.
    origin_ns: u64,
    /// Entries before this one are on the screen.
    shown: usize,
}

impl<'a> Record<'a> {
    pub(super) fn new(document: &'a mut Document, text: &'a Text) -> Record<'a> {
        Record {
            document,
            text,
            origin_ns: clock::now(),
            shown: 0,
        }
    }

    /// In the document's terms.
    pub(super) fn since_origin(&self, at_ns: u64) -> u64 {
        at_ns.saturating_sub(self.origin_ns)
    }

    pub(super) fn enter(&mut self, at_ns: u64, pid: i32, who: &str, kind: Kind, text: &str) {
        let at_ns = self.since_origin(at_ns);
        let (who, text) = (who.to_owned(), text.to_owned());
        self.document.timeline.push(Entry {
            at_ns,
            pid,
            who,
            kind,
            text,
        });
    }

    /// Shows what is new. At the end of an act: a message may be overtaken by what happened after
    /// it.
    pub(super) fn show(&mut self) {
        let killed_ns = self.document.runtime.killed_ns;
        let new = &mut self.document.timeline[self.shown..];
        new.sort_by_key(|entry| entry.at_ns);
        for entry in new {
            self.text.entry(entry, killed_ns);
        }
        self.shown = self.document.timeline.len();
    }
}
