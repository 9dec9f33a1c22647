//! The copy of the workspace that all mutants are written into.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result};

use super::rewrite::Rewritten;
use super::sources::{self, CRATES, Source};
use crate::shell;

/// The crate that says which mutant is on.
const SWITCH: &str = "mutant-switch";

#[derive(Debug)]
pub(crate) struct Tree {
    root: PathBuf,
    /// What was written into it.
    files: HashSet<PathBuf>,
}

impl Tree {
    /// Copies the workspace to the folder. A file that is the same already keeps its time, so that
    /// Cargo builds no more than it must.
    pub(crate) fn copy(root: PathBuf, map: &Path, sources: &[Source]) -> Result<Tree> {
        let mut tree = Tree {
            root,
            files: HashSet::new(),
        };
        let manifests: HashSet<PathBuf> = CRATES.iter().map(|name| manifest(name)).collect();
        let mutated: HashSet<&Path> = sources.iter().map(|file| Path::new(&file.path)).collect();
        for path in sources::workspace().context("list the workspace")? {
            if mutated.contains(&*path) {
                continue;
            }
            let whole = shell::root().join(&path);
            let mut bytes =
                fs::read(&whole).with_context(|| format!("read {}", whole.display()))?;
            if path == Path::new("Cargo.toml") {
                let text = String::from_utf8(bytes)?;
                let members = format!("\"xtask\", \"{SWITCH}\"]");
                // A mutant may well be a strange thing to write: no lint is asked.
                let text = text.replace("\"deny\"", "\"allow\"");
                bytes = text.replacen("\"xtask\"]", &members, 1).into_bytes();
            } else if manifests.contains(&path) {
                let text = String::from_utf8(bytes)?;
                let line = format!("[dependencies]\n{SWITCH} = {{ path = \"../{SWITCH}\" }}\n");
                bytes = text.replacen("[dependencies]\n", &line, 1).into_bytes();
            }
            tree.write(&path, &bytes)?;
            let mode = fs::metadata(&whole)?.permissions();
            fs::set_permissions(tree.root.join(&path), mode)?;
        }
        let switch = include_str!("switch/lib.rs")
            .replace("MAP_PATH", &format!("c{:?}", map.display().to_string()))
            .replace("MAP_LENGTH", &map_length(sources).to_string());
        tree.write(&Path::new(SWITCH).join("src/lib.rs"), switch.as_bytes())?;
        let text = format!(
            "[package]\nname = \"{SWITCH}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
             [dependencies]\nlibc.workspace = true\n"
        );
        tree.write(&manifest(SWITCH), text.as_bytes())?;
        Ok(tree)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Writes the file with its mutants.
    pub(crate) fn mutate(&mut self, source: &Source, rewritten: &Rewritten) -> Result<()> {
        self.write(Path::new(&source.path), rewritten.text.as_bytes())
    }

    /// Removes what an earlier copy had and the workspace no longer has.
    pub(crate) fn tidy(&self) -> io::Result<()> {
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(self.root.join(&folder))? {
                let entry = entry?;
                let path = folder.join(entry.file_name());
                if entry.file_type()?.is_dir() {
                    folders.push(path);
                } else if !self.files.contains(&path) && path != Path::new("Cargo.lock") {
                    fs::remove_file(self.root.join(&path))?;
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, path: &Path, bytes: &[u8]) -> Result<()> {
        let whole = self.root.join(path);
        if fs::read(&whole).ok().as_deref() != Some(bytes) {
            let folder = whole.parent().unwrap_or(&self.root);
            fs::create_dir_all(folder)
                .and_then(|()| fs::write(&whole, bytes))
                .with_context(|| format!("write {}", whole.display()))?;
        }
        self.files.insert(path.to_owned());
        Ok(())
    }
}

/// A byte for each number up to the highest.
pub(crate) fn map_length(sources: &[Source]) -> usize {
    let points = sources.iter().map(|source| source.found.points.len());
    points.sum::<usize>() + 1
}

fn manifest(package: &str) -> PathBuf {
    Path::new(package).join("Cargo.toml")
}
