//! What is written in the workspace's files: how wide their lines are, that a word names one type,
//! and that the map in ARCHITECTURE.md has every file.

use std::collections::BTreeSet;

use workspace_tests::sources::{self, PACKAGES};

const COLUMNS: usize = 100;

/// A row of a table, and a word that is too long by itself, cannot be broken in two.
fn can_be_broken(line: &str) -> bool {
    let text = line.trim_start().trim_start_matches(['/', '!']).trim();
    !text.starts_with('|') && text.contains(' ')
}

/// In comments and texts too, which rustfmt leaves alone.
#[test]
fn no_line_of_a_source_file_is_longer_than_100_columns() {
    let mut long = Vec::new();
    for source in sources::all() {
        for (number, line) in (1..).zip(source.text.lines()) {
            if line.chars().count() > COLUMNS && can_be_broken(line) {
                long.push(format!("{}:{number}", source.path));
            }
        }
    }
    assert!(long.is_empty(), "{long:#?}");
}

/// The files that may ask where temporary files lie: what makes a folder there that nobody else
/// has, and what makes no file.
const TEMPORARY: [&str; 4] = [
    "tests/src/folder.rs",
    "tests/src/demo/front.rs",
    "tests/tests/tree_forkers.rs",
    "tests/tests/sources.rs",
];

/// A name with the pid in it is another process's too: many are pid 1 of a PID namespace.
#[test]
fn tests_make_their_files_in_folders_that_nobody_else_has() {
    let all = sources::all().into_iter();
    let in_tests = all.filter(|source| source.path.contains("tests/"));
    let asks = |text: &str| text.contains("temp_dir()") || text.contains("CARGO_TARGET_TMPDIR");
    let others: Vec<String> = in_tests
        .filter(|source| asks(&source.text) && !TEMPORARY.contains(&source.path.as_str()))
        .map(|source| source.path)
        .collect();
    assert!(others.is_empty(), "{others:?}");
}

/// Each word, and the file that defines the type.
const WORDS: [(&str, &str); 4] = [
    ("Stage", "shim-spawner/src/error.rs"),
    ("Report", "shim-spawner/src/report.rs"),
    ("Shared", "pidfd-watcher/src/shared.rs"),
    ("Target", "fd-preserve/src/child/target.rs"),
];

/// Whether the line defines a type of that name. An associated type, as of `Deref`, is std's.
fn defines(line: &str, name: &str) -> bool {
    let visible = ["pub ", "pub(crate) ", "pub(super) "];
    let rest = visible
        .iter()
        .find_map(|visible| line.trim_start().strip_prefix(visible))
        .unwrap_or(line.trim_start());
    let mut keywords = vec!["struct ", "enum ", "union ", "trait "];
    if !line.starts_with(' ') {
        keywords.push("type ");
    }
    let rest = keywords.iter().find_map(|word| rest.strip_prefix(word));
    let rest = rest.and_then(|rest| rest.strip_prefix(name));
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// Who reads one of them need not ask which.
#[test]
fn each_of_these_words_names_one_type_in_the_workspace() {
    let all = sources::all();
    for (name, file) in WORDS {
        let definitions = all.iter().flat_map(|source| {
            let lines = source.text.lines().filter(|line| defines(line, name));
            lines.map(|_| source.path.as_str())
        });
        assert_eq!(definitions.collect::<Vec<_>>(), [file], "{name}");
    }
}

/// The rows of the map: from "### package" to the next heading, the first cell of each.
fn mapped(package: &str) -> Vec<String> {
    let page = sources::read("ARCHITECTURE.md");
    let (_, section) = page
        .split_once(&format!("\n### {package}\n"))
        .unwrap_or_else(|| panic!("no map of {package}"));
    section
        .lines()
        .take_while(|line| !line.starts_with('#'))
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |"))
        .map(|(path, _)| format!("{package}/src/{path}"))
        .collect()
}

#[test]
fn map_has_every_source_file_once_and_no_other() {
    for package in PACKAGES {
        let rows = mapped(package);
        let files: BTreeSet<String> = sources::below(&format!("{package}/src"))
            .into_iter()
            .map(|source| source.path)
            .collect();
        let of_row = |row: &String| -> Vec<String> {
            let inside =
                |file: &&String| *file == row || row.ends_with('/') && file.starts_with(row);
            files.iter().filter(inside).cloned().collect()
        };
        let mut seen = BTreeSet::new();
        for row in &rows {
            let found = of_row(row);
            assert!(!found.is_empty(), "the map has {row}, which is not there");
            for file in found {
                assert!(seen.insert(file.clone()), "the map has {file} twice");
            }
        }
        let missing: Vec<_> = files.difference(&seen).collect();
        assert!(missing.is_empty(), "the map has no {missing:#?}");
    }
}
