//! The pages that cite tests by name: each name is a test's.

use std::fs;
use std::path::{Path, PathBuf};

const PAGES: [&str; 3] = ["SECURITY.md", "docs/init.md", "docs/programs.md"];

/// Names of so many words are tests'; code words that the pages quote are shorter.
const WORDS: usize = 4;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every name in backticks that is made as a test's is.
fn cited(page: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(page)).expect("read the page");
    let quoted = text.split('`').skip(1).step_by(2);
    let is_name = |word: &&str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        word.bytes().all(plain) && word.split('_').count() >= WORDS
    };
    quoted.filter(is_name).map(str::to_owned).collect()
}

/// The text of all sources below the folder.
fn sources(folder: &Path) -> String {
    let entries = fs::read_dir(folder).expect("list the tests");
    let texts = entries.map(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path)
        } else {
            fs::read_to_string(path).expect("read a test")
        }
    });
    texts.collect()
}

#[test]
fn every_test_that_a_page_cites_exists() {
    let sources = sources(&root().join("tests/tests"));
    for page in PAGES {
        let names = cited(page);
        assert!(names.len() > 10, "{page} cites {names:?}");
        for name in names {
            // Written out, or made by a macro.
            let written = sources.contains(&format!("fn {name}()"));
            let made = [": \"", " in \""]
                .iter()
                .any(|rest| sources.contains(&format!("    {name}{rest}")));
            assert!(written || made, "{page} cites {name}, which is no test");
        }
    }
}
