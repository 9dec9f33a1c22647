//! A job's own copies of the programs, in which it turns mutants on.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{io, thread};

use anyhow::{Context, Result, bail};

use super::cargo::Program;

/// What stands before the number: see switch/lib.rs.
const MARK: &[u8; 16] = b"SWITCH_OF_MUTANT";

/// Asks for a record of what is reached instead.
pub(crate) const RECORD: u32 = u32::MAX;

/// How long the programs of a mutant may take to be gone.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the number stands in each of the programs; `None` in one that links none of the crates.
pub(crate) fn numbers(programs: &[Program]) -> Result<Vec<Option<u64>>> {
    let at = |program: &Program| {
        let bytes = fs::read(&program.path)?;
        // It lies as a number of four bytes does.
        let mut places = (0..bytes.len()).step_by(4);
        let mark = places.find(|&at| bytes[at..].starts_with(MARK));
        anyhow::Ok(mark.map(|at| u64::try_from(at + MARK.len())).transpose()?)
    };
    programs.iter().map(at).collect()
}

#[derive(Debug)]
pub(crate) struct Programs {
    /// The copies, and where in them the number stands.
    files: Vec<(PathBuf, u64)>,
    is_on: u32,
}

impl Programs {
    /// Copies the programs, which lie in `from`, to `to`. What is there from an earlier run stays
    /// if it is not older. `numbers` is where their numbers stand.
    pub(crate) fn copy(
        programs: &[Program],
        numbers: &[Option<u64>],
        from: &Path,
        to: &Path,
    ) -> Result<Programs> {
        let mut files = Vec::new();
        for (program, number) in programs.iter().zip(numbers) {
            let Ok(path) = program.path.strip_prefix(from) else {
                bail!("{} is not in {}", program.path.display(), from.display());
            };
            let copy = to.join(path);
            copy_if_newer(&program.path, &copy)
                .with_context(|| format!("copy {}", program.path.display()))?;
            files.extend(number.map(|number| (copy, number)));
        }
        let mut programs = Programs { files, is_on: 1 };
        programs.turn_on(0)?;
        Ok(programs)
    }

    /// None of the programs may run.
    pub(crate) fn turn_on(&mut self, number: u32) -> Result<()> {
        if self.is_on == number {
            return Ok(());
        }
        for (path, at) in &self.files {
            let file = open(path).with_context(|| format!("open {}", path.display()))?;
            file.write_all_at(&number.to_ne_bytes(), *at)
                .with_context(|| format!("write {}", path.display()))?;
        }
        self.is_on = number;
        Ok(())
    }
}

/// A program of the last mutant may still be about to go (`ETXTBSY`).
fn open(path: &Path) -> io::Result<File> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match OpenOptions::new().write(true).open(path) {
            Err(error)
                if error.kind() == io::ErrorKind::ExecutableFileBusy
                    && Instant::now() < deadline =>
            {
                thread::sleep(Duration::from_millis(5));
            }
            opened => return opened,
        }
    }
}

fn copy_if_newer(from: &Path, to: &Path) -> io::Result<()> {
    let built = fs::metadata(from)?;
    if fs::metadata(to).is_ok_and(|copy| {
        copy.len() == built.len() && copy.modified().ok() >= built.modified().ok()
    }) {
        return Ok(());
    }
    fs::create_dir_all(to.parent().unwrap_or(Path::new("/")))?;
    fs::copy(from, to)?;
    Ok(())
}
