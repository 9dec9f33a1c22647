//! The document for humans: a timeline, line by line as it happens, and two lines that sum it up.

use std::io::Write;

use super::document::{Count, Document, Entry, Kind, Shim};
use super::setup::Setup;

/// Where text goes; nowhere when a machine reads.
pub(super) struct Text {
    colour: bool,
    silent: bool,
}

/// Lines of what was left behind; more would push the timeline off the screen.
const MOST_LEFT_BEHIND: usize = 10;

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const BOLD_RED: &str = "1;31";
const GREEN: &str = "32";
const BOLD_GREEN: &str = "1;32";
const YELLOW: &str = "33";
const CYAN: &str = "36";

impl Text {
    pub(super) fn new(setup: &Setup) -> Text {
        Text {
            colour: setup.colour,
            silent: setup.options.json,
        }
    }

    pub(super) fn opening(&self, document: &Document) {
        let (attached, program) = (document.attached().count(), document.program.join(" "));
        let cast =
            format!("a runtime, {attached} attached and 1 detached shim; behind each: {program}");
        self.line(&self.paint(BOLD, &cast));
        let tree =
            "the tree: a server that knows nothing of us, and its worker; under watchdog-shim";
        self.line(&self.paint(BOLD, tree));
        self.line(&self.paint(
            DIM,
            &format!(
                "{:>9} {:>9} {:>8}  {:<12} {}",
                "ms", "kill +", "pid", "who", "what happened"
            ),
        ));
    }

    pub(super) fn entry(&self, entry: &Entry, killed_ns: Option<u64>) {
        let since_kill = killed_ns
            .and_then(|killed| entry.at_ns.checked_sub(killed))
            .map_or(String::new(), |ns| format!("+{}", ms(ns)));
        let times = self.paint(
            DIM,
            &format!("{:>9} {since_kill:>9} {:>8}", ms(entry.at_ns), entry.pid),
        );
        let what = match entry.kind {
            Kind::Killed => self.paint(BOLD_RED, &entry.text),
            Kind::Learned => self.paint(YELLOW, &entry.text),
            Kind::Answered => self.paint(GREEN, &entry.text),
            Kind::Adopted | Kind::Stopped => self.paint(CYAN, &entry.text),
            Kind::Gone => self.paint(DIM, &entry.text),
            Kind::Started | Kind::Ready | Kind::Told => entry.text.clone(),
        };
        self.line(&format!("{times}  {:<12} {what}", entry.who));
    }

    pub(super) fn closing(&self, document: &Document) {
        if let Some(summary) = summary(document) {
            self.line(&format!("\n{summary}"));
        }
        if let Some(summary) = tree_summary(document) {
            self.line(&summary);
        }
        let count = &document.count;
        for text in count.left_behind.iter().take(MOST_LEFT_BEHIND) {
            self.line(&self.paint(RED, text));
        }
        if let Some(more @ 1..) = count.left_behind.len().checked_sub(MOST_LEFT_BEHIND) {
            let text = format!("... and {more} more (--json has them all)");
            self.line(&self.paint(RED, &text));
        }
        if let Some(line) = count_line(count) {
            let clean = count.is_clean();
            self.line(&self.paint(if clean { BOLD_GREEN } else { BOLD_RED }, &line));
        }
    }

    /// A reader that has gone away is the front's affair; the director clears up all the same.
    fn line(&self, line: &str) {
        if !self.silent {
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// How long the runtime's death took to do its work, once it has.
fn summary(document: &Document) -> Option<String> {
    let killed = document.runtime.killed_ns?;
    let slowest = |time: fn(&Shim) -> Option<u64>| {
        let times: Option<Vec<u64>> = document.attached().map(time).collect();
        Some(ms(times?.into_iter().max()?.saturating_sub(killed)))
    };
    let learned = slowest(|shim| shim.learned_ns)?;
    let program = slowest(|shim| shim.program_gone_ns)?;
    let gone = slowest(|shim| shim.gone_ns)?;
    Some(format!(
        "the slowest attached shim: learned of the death after {learned} ms, \
         its program gone after {program} ms, gone itself after {gone} ms"
    ))
}

/// The same of the tree under `watchdog-shim`.
fn tree_summary(document: &Document) -> Option<String> {
    let killed = document.runtime.killed_ns?;
    let after = |at: Option<u64>| Some(ms(at?.saturating_sub(killed)));
    let tree = &document.tree;
    let (learned, server) = (after(tree.learned_ns)?, after(tree.program_gone_ns)?);
    let (worker, gone) = (after(tree.worker_gone_ns)?, after(tree.gone_ns)?);
    Some(format!(
        "the tree: its shim learned of the death after {learned} ms, its server gone after \
         {server} ms, its worker after {worker} ms, the shim itself after {gone} ms"
    ))
}

fn count_line(count: &Count) -> Option<String> {
    let (orphans, zombies) = (count.orphans?, count.zombies?);
    let leaked = count.leaked_descriptors?;
    Some(format!(
        "{orphans} orphans, {zombies} zombies, {leaked} leaked descriptors"
    ))
}

/// Milliseconds with two digits: what a wake-up on this kernel takes shows in the first of them.
fn ms(ns: u64) -> String {
    format!("{}.{:02}", ns / 1_000_000, ns % 1_000_000 / 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_have_two_digits() {
        assert_eq!(ms(0), "0.00");
        assert_eq!(ms(1_239_999), "1.23");
        assert_eq!(ms(12_050_000), "12.05");
    }

    #[test]
    fn clean_count_reads_as_promised() {
        let mut count = Count::default();
        assert_eq!(count_line(&count), None);
        [count.orphans, count.zombies, count.leaked_descriptors] = [Some(0); 3];
        let line = "0 orphans, 0 zombies, 0 leaked descriptors";
        assert_eq!(count_line(&count).as_deref(), Some(line));
    }
}
