//! Writes all mutants into the copy, and takes out those that do not compile.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Result, bail};

use super::cargo::{self, Complaint};
use super::rewrite::Rewritten;
use super::sources::Source;
use super::tree::Tree;
use crate::long::Interrupt;

/// The compiler looks at one kind of fault at a time, and at no crate before those that it needs.
const ROUNDS: usize = 60;

/// Leaves a copy that compiles; `dropped` has the numbers of the mutants that it is without, and
/// may start with those that are known.
pub(crate) fn write(
    tree: &mut Tree,
    sources: &[Source],
    target: &Path,
    dropped: &mut HashSet<u32>,
    interrupt: &Interrupt,
) -> Result<()> {
    for round in 1..=ROUNDS {
        let mut files = Vec::new();
        for source in sources {
            let rewritten = Rewritten::new(&source.text, &source.found, dropped);
            tree.mutate(source, &rewritten)?;
            files.push((source, rewritten));
        }
        let complaints = cargo::build(tree.root(), target, interrupt)?;
        if complaints.is_empty() {
            return Ok(());
        }
        let mut blamed = HashSet::new();
        for complaint in &complaints {
            blamed.extend(blame(complaint, &files, dropped));
        }
        if blamed.is_empty() {
            bail!("the copy does not compile:\n{}", complaints[0].rendered);
        }
        dropped.extend(blamed);
        let count = dropped.len();
        eprintln!("round {round}: {count} mutants do not compile");
    }
    bail!("the copy does not compile after {ROUNDS} rounds")
}

/// The mutants that the complaint is about. The compiler names several places; the first with a
/// mutant decides.
fn blame(
    complaint: &Complaint,
    files: &[(&Source, Rewritten)],
    dropped: &HashSet<u32>,
) -> Vec<u32> {
    for (file, at) in &complaint.places {
        let Some((source, rewritten)) = files.iter().find(|(source, _)| source.path == *file)
        else {
            continue;
        };
        let blamed = rewritten.blamed(&source.found, at, dropped);
        if !blamed.is_empty() {
            return blamed;
        }
    }
    Vec::new()
}
