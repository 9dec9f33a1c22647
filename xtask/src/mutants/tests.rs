//! The tests of the copy.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
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
    let mut fixtures = 0_u64;
    for program in programs.iter().filter(|program| program.tests.is_none()) {
        fixtures = fixtures.wrapping_add(stamp(&program.path)?);
    }
    let mut tests = Vec::new();
    for program in programs {
        let Some((harness, folder)) = &program.tests else {
            continue;
        };
        let key = fixtures
            .wrapping_mul(31)
            .wrapping_add(stamp(&program.path)?);
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
            key,
        }));
    }
    tests.sort_by_key(Test::label);
    Ok(tests)
}

/// Tells a build of the file from another one.
fn stamp(path: &Path) -> Result<u64> {
    let file = fs::metadata(path).with_context(|| format!("find {}", path.display()))?;
    let nanos = file.mtime().wrapping_mul(1_000_000_000);
    let time = nanos.wrapping_add(file.mtime_nsec()).cast_unsigned();
    Ok(time ^ file.len())
}
