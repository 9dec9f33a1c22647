//! `cargo xtask man`: the manual page and the completions of `watchdog-shim`, from the table of its
//! options.

mod bash;
mod fish;
mod page;
// The shim's own: what the parser goes by.
#[allow(dead_code, reason = "the parser uses the rest")]
#[path = "../../watchdog-shim/src/table.rs"]
mod table;
mod zsh;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::shell;

/// Where the files are, from the workspace's root.
const FOLDER: &str = "watchdog-shim";

/// Each file, and what is to be in it.
fn files() -> [(&'static str, String); 4] {
    [
        ("man/watchdog-shim.1", page::text()),
        ("completions/watchdog-shim.bash", bash::text()),
        ("completions/_watchdog-shim", zsh::text()),
        ("completions/watchdog-shim.fish", fish::text()),
    ]
}

fn path(file: &str) -> PathBuf {
    shell::root().join(FOLDER).join(file)
}

pub(crate) fn run() -> Result<()> {
    for (file, text) in files() {
        let path = path(file);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).context("create a folder")?;
        }
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        println!("{FOLDER}/{file}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_those_of_the_table() {
        for (file, text) in files() {
            let written = fs::read_to_string(path(file)).unwrap_or_default();
            assert!(written == text, "{file} is old: run `cargo xtask man`");
        }
    }

    #[test]
    fn no_place_is_left_open() {
        for (file, text) in files() {
            for place in ["@OPTIONS@", "@VERSION@", "@NAMES@", "@VALUES@", "@TAKING@"] {
                assert!(!text.contains(place), "{place} in {file}");
            }
        }
    }
}
