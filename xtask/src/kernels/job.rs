//! What a machine is to do, in the words of the guest's script.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::programs::{Programs, Tests};

/// How long a program full of tests may take, in seconds, on a machine that is not slow.
const LIMIT: u32 = 120;

/// Calls of the functions of guest.sh.
#[derive(Debug)]
pub(super) struct Job {
    lines: String,
    slowness: u32,
    /// How many programs it runs.
    pub(super) programs: usize,
}

impl Job {
    pub(super) fn new(places: &[PathBuf], slowness: u32) -> Job {
        let mut lines = String::new();
        for place in places {
            let _ = writeln!(lines, "place {}", quoted(&place.to_string_lossy()));
        }
        // What cargo and the tests look at.
        let _ = writeln!(lines, "export WORKSPACE_TESTS_SLOWNESS={slowness}");
        Job {
            lines,
            slowness,
            programs: 0,
        }
    }

    pub(super) fn tests(&mut self, tests: &Tests) {
        let options = ["--test-threads=2", "--show-output"];
        self.run(&tests.name, &tests.folder, &tests.program, &options);
    }

    /// The program `demo`, if it was built.
    pub(super) fn demo(&mut self, programs: &Programs) {
        if let Some(demo) = programs.named("demo") {
            self.run("demo", crate::shell::root(), demo, &[]);
        }
    }

    fn run(&mut self, name: &str, folder: &Path, program: &Path, options: &[&str]) {
        let folder = quoted(&folder.to_string_lossy());
        let program = quoted(&program.to_string_lossy());
        let (limit, options) = (LIMIT * self.slowness, options.join(" "));
        let _ = writeln!(
            self.lines,
            "run {name} {folder} {limit} {program} {options}"
        );
        self.programs += 1;
    }

    pub(super) fn text(&self) -> &str {
        &self.lines
    }
}

/// As the shell takes it for one word.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_with_a_quote_is_one_word() {
        assert_eq!(quoted("it's here"), r"'it'\''s here'");
    }
}
