//! What pages and comments cite is there: the tests that a page names, the sections that a comment
//! names.

use std::collections::{BTreeMap, BTreeSet};

use workspace_tests::sources;

/// They name a test by its name alone.
const BY_NAME: [&str; 4] = [
    "SECURITY.md",
    "docs/init.md",
    "docs/programs.md",
    "docs/protocol.md",
];

/// They name a test by its target and its name, and comments cite their sections.
const BY_TARGET: [&str; 2] = ["docs/kernel.md", "docs/pitfalls.md"];

/// Names of so many words are tests'; code words that the pages quote are shorter.
const WORDS: usize = 4;

/// What a page has in backticks, each on one line.
fn quoted(page: &str) -> Vec<String> {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    sources::read(page)
        .split('`')
        .skip(1)
        .step_by(2)
        .map(words)
        .collect()
}

fn is_name(word: &str) -> bool {
    word.bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// The text of all sources below the folder.
fn text(folder: &str) -> String {
    let sources = sources::below(folder).into_iter();
    sources.map(|source| source.text).collect()
}

/// The text of a target: a file or folder of `tests/tests`, or a crate with its unit tests.
fn target(name: &str) -> String {
    let file = format!("tests/tests/{name}.rs");
    if sources::exists(&file) {
        return sources::read(&file);
    }
    let folders = [
        format!("tests/tests/{name}"),
        format!("{name}/src"),
        format!("{name}/tests"),
    ];
    folders.iter().map(|folder| text(folder)).collect()
}

/// Whether the text has a test of that name: written out, or made by a macro.
fn has_test(text: &str, name: &str) -> bool {
    let made = [": \"", " in \"", ":\n"];
    text.contains(&format!("fn {name}("))
        || made
            .iter()
            .any(|rest| text.contains(&format!("    {name}{rest}")))
}

#[test]
fn every_test_that_a_page_cites_exists() {
    let sources = text("tests/tests");
    for page in BY_NAME {
        let mut names = quoted(page);
        names.retain(|name| is_name(name) && name.split('_').count() >= WORDS);
        assert!(names.len() > 10, "{page} cites {names:?}");
        for name in names {
            assert!(
                has_test(&sources, &name),
                "{page} cites {name}, which is no test"
            );
        }
    }
}

#[test]
fn every_test_that_a_page_cites_by_its_target_exists() {
    let mut targets = BTreeMap::new();
    for page in BY_TARGET {
        let quoted = quoted(page);
        let cited: Vec<(&str, &str)> = quoted
            .iter()
            .filter_map(|quoted| quoted.split_once(' '))
            .filter(|(target, name)| is_name(&target.replace('-', "_")) && is_name(name))
            .collect();
        assert!(cited.len() > 50, "{page} cites {cited:?}");
        for (name_of_target, name) in cited {
            let text = targets
                .entry(name_of_target.to_owned())
                .or_insert_with_key(|name| target(name));
            assert!(
                has_test(text, name),
                "{page} cites `{name_of_target} {name}`, which is no test"
            );
        }
    }
}

/// As GitHub makes them of the headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    sources::read(page)
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .map(|title| title.chars().filter(kept).collect::<String>())
        .map(|title| title.replace(' ', "-"))
        .collect()
}

/// The sections of a page that a text cites; "" where it cites the page and no section.
fn sections<'a>(text: &'a str, page: &str) -> Vec<&'a str> {
    let is_anchor = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
    text.split(page)
        .skip(1)
        .map(|rest| match rest.strip_prefix('#') {
            Some(anchor) => anchor.split(|c| !is_anchor(c)).next().expect("a part"),
            None => "",
        })
        .collect()
}

#[test]
fn every_section_that_a_comment_cites_exists() {
    let all = sources::all().into_iter();
    let text: String = all.map(|source| source.text).collect();
    for page in BY_TARGET {
        let anchors = anchors(page);
        let sections: Vec<&str> = sections(&text, page)
            .into_iter()
            .filter(|section| !section.is_empty())
            .collect();
        assert!(sections.len() > 5, "{page}: {sections:?}");
        for section in sections {
            assert!(
                anchors.contains(section),
                "a comment cites {page}#{section}, which is no section"
            );
        }
    }
}

/// A name that ends in `.md`, with the folders before it.
fn pages_in(text: &str) -> BTreeSet<&str> {
    let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_');
    text.split(|c| !in_name(c))
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| word.len() > 3 && word.ends_with(".md"))
        .collect()
}

#[test]
fn every_page_that_a_comment_names_exists() {
    let mut named = 0;
    for source in sources::all() {
        let package = source.path.split('/').next().expect("a package").to_owned();
        for page in pages_in(&source.text) {
            named += 1;
            // From the root, from the package, or the name alone of a page of figures.
            let places = [
                page.to_owned(),
                format!("{package}/src/{page}"),
                format!("{package}/{page}"),
                format!("docs/bench/{page}"),
            ];
            assert!(
                places.iter().any(|place| sources::exists(place)),
                "{} names {page}, which is not there",
                source.path
            );
        }
    }
    assert!(named > 10, "{named}");
}
