//! The workspace's own files, for tests of what is written in them.

use std::fs;
use std::path::{Path, PathBuf};

/// The packages of the workspace: a folder each.
pub const PACKAGES: [&str; 7] = [
    "watchdog-pipe",
    "fd-preserve",
    "pidfd-watcher",
    "shim-spawner",
    "watchdog-shim",
    "tests",
    "xtask",
];

/// A source file.
#[derive(Clone, Debug)]
pub struct Source {
    /// From the root of the workspace.
    pub path: String,
    pub text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The text of a file, which is named from the root.
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Whether there is a file or a folder of that name.
pub fn exists(path: &str) -> bool {
    root().join(path).exists()
}

/// All files of Rust below a folder, which is named from the root. None where there is no folder.
pub fn below(folder: &str) -> Vec<Source> {
    let Ok(entries) = fs::read_dir(root().join(folder)) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("a name in UTF-8");
        let path = format!("{folder}/{name}");
        if entry.file_type().expect("a type").is_dir() {
            found.extend(below(&path));
        } else if name.ends_with(".rs") {
            let text = read(&path);
            found.push(Source { path, text });
        }
    }
    found
}

/// All files of Rust in the workspace.
pub fn all() -> Vec<Source> {
    let found: Vec<Source> = PACKAGES
        .iter()
        .flat_map(|package| {
            ["src", "tests", "benches", "examples"].map(|part| below(&format!("{package}/{part}")))
        })
        .flatten()
        .collect();
    assert!(found.len() > 300, "{} files", found.len());
    found
}
