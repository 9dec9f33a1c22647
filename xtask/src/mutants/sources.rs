//! The source files of the crates, and which of them are judged.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result};
use syn::Item;

use super::cfg::Cfg;
use super::find::{self, Found};
use crate::shell;

/// The crates whose code the tests are to judge.
pub(crate) const CRATES: [&str; 5] = [
    "watchdog-pipe",
    "fd-preserve",
    "pidfd-watcher",
    "shim-spawner",
    "watchdog-shim",
];

/// A source file with its points.
#[derive(Debug)]
pub(crate) struct Source {
    /// From the root of the workspace.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) found: Found,
}

/// All files of the crates; points are numbered from 1, in the order of the files.
pub(crate) fn read(cfg: &Cfg) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut next = 1;
    for name in CRATES {
        let files = of_crate(name, cfg)?;
        let mut constants = HashSet::new();
        for (path, text) in &files {
            let names = find::constants(text).with_context(|| format!("parse {path}"))?;
            constants.extend(names);
        }
        for (path, text) in files {
            let found = find::points(&path, &text, cfg, &constants, next)
                .with_context(|| format!("parse {path}"))?;
            next += u32::try_from(found.points.len())?;
            sources.push(Source { path, text, found });
        }
    }
    Ok(sources)
}

/// The numbers of the points of each file.
pub(crate) fn numbers(sources: &[Source]) -> HashMap<String, Range<u32>> {
    let with_points = sources.iter().filter_map(|source| {
        let (first, last) = (source.found.points.first()?, source.found.points.last()?);
        Some((source.path.clone(), first.number..last.number + 1))
    });
    with_points.collect()
}

/// The files that are compiled into the crate when it is no test.
fn of_crate(name: &str, cfg: &Cfg) -> Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for start in ["lib.rs", "main.rs"] {
        let path = Path::new(name).join("src").join(start);
        if shell::root().join(&path).is_file() {
            follow(&path, cfg, &mut files)?;
        }
    }
    files.sort();
    Ok(files)
}

/// Adds the file, and those of the modules that it declares.
fn follow(path: &Path, cfg: &Cfg, files: &mut Vec<(String, String)>) -> Result<()> {
    let whole = shell::root().join(path);
    let text = fs::read_to_string(&whole).with_context(|| format!("read {}", whole.display()))?;
    let parsed = syn::parse_file(&text).with_context(|| format!("parse {}", path.display()))?;
    let is_root = matches!(
        path.file_name().and_then(|name| name.to_str()),
        Some("lib.rs" | "main.rs" | "mod.rs")
    );
    let folder = if is_root {
        path.parent().unwrap_or(Path::new("")).to_owned()
    } else {
        path.with_extension("")
    };
    for item in &parsed.items {
        let Item::Mod(module) = item else { continue };
        if module.content.is_some() || !cfg.allows(&module.attrs) {
            continue;
        }
        let name = module.ident.to_string();
        let beside = folder.join(format!("{name}.rs"));
        let within = folder.join(&name).join("mod.rs");
        let is_beside = shell::root().join(&beside).is_file();
        follow(if is_beside { &beside } else { &within }, cfg, files)?;
    }
    files.push((path.to_string_lossy().into_owned(), text));
    Ok(())
}

/// All files of the workspace, from its root: neither what is built nor what git keeps.
pub(crate) fn workspace() -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(shell::root().join(&folder))? {
            let entry = entry?;
            let name = entry.file_name();
            if folder.as_os_str().is_empty() && (name == "target" || name == ".git") {
                continue;
            }
            let path = folder.join(&name);
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}
