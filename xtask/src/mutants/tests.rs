//! The tests of the copy.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::cargo::Program;

#[derive(Clone, Debug)]
pub(crate) struct Test {
    /// What the harness is of: `package::target`.
    pub(crate) harness: String,
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    /// Where Cargo would run it.
    pub(crate) folder: PathBuf,
    /// Other with every change of its program, or of those that it may start.
    pub(crate) key: u64,
}

impl Test {
    pub(crate) fn label(&self) -> String {
        format!("{} {}", self.harness, self.name)
    }
}

/// All tests that the harnesses among the programs have.
pub(crate) fn of(programs: &[Program]) -> Result<Vec<Test>> {
    let mut fixtures = DefaultHasher::new();
    for program in programs.iter().filter(|program| program.tests.is_none()) {
        fs::read(&program.path)?.hash(&mut fixtures);
    }
    let mut tests = Vec::new();
    for program in programs {
        let Some((harness, folder)) = &program.tests else {
            continue;
        };
        let mut key = fixtures.clone();
        fs::read(&program.path)?.hash(&mut key);
        let listed = Command::new(&program.path)
            .args(["--list", "--format", "terse"])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .with_context(|| format!("run {}", program.path.display()))?;
        let listed = String::from_utf8_lossy(&listed.stdout);
        let names = listed
            .lines()
            .filter_map(|line| line.strip_suffix(": test"));
        tests.extend(names.map(|name| Test {
            harness: harness.clone(),
            name: name.to_owned(),
            program: program.path.clone(),
            folder: folder.clone(),
            key: key.finish(),
        }));
    }
    tests.sort_by_key(Test::label);
    Ok(tests)
}
