//! Files that several crates have copies of: the copies have the same text. ARCHITECTURE.md says why
//! they are copies.

use std::fs;
use std::path::{Path, PathBuf};

/// Below the `src` of each crate.
const FILES: [(&str, &[&str]); 3] = [
    (
        "sys/fork_generation.rs",
        &["watchdog-pipe", "fd-preserve", "pidfd-watcher"],
    ),
    (
        "sys/published.rs",
        &["watchdog-pipe", "fd-preserve", "pidfd-watcher"],
    ),
    (
        "sys/signals.rs",
        &["watchdog-pipe", "pidfd-watcher", "shim-spawner"],
    ),
];

/// What each of them says of itself, and no other file.
const SAYS: &str = "//! This file has the same text in every crate that has it.\n";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn copies_of_a_file_have_the_same_text() {
    for (file, crates) in FILES {
        let read = |name: &&str| {
            let path = root().join(name).join("src").join(file);
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
        };
        let texts: Vec<String> = crates.iter().map(read).collect();
        assert!(texts.iter().all(|text| text.contains(SAYS)), "{file}");
        for (name, text) in crates.iter().zip(&texts) {
            assert!(
                *text == texts[0],
                "{file}: {name} differs from {}",
                crates[0]
            );
        }
    }
}

#[test]
fn every_file_that_calls_itself_a_copy_is_compared() {
    let compared = FILES.iter().map(|(_, crates)| crates.len()).sum::<usize>();
    let mut folders = Vec::from_iter(
        fs::read_dir(root())
            .expect("list the crates")
            .map(|entry| entry.expect("an entry").path().join("src")),
    );
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if fs::read_to_string(&path).is_ok_and(|text| text.contains(SAYS)) {
                found.push(path);
            }
        }
    }
    assert_eq!(found.len(), compared, "{found:#?}");
}
