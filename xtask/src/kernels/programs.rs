//! The tests' programs: built by cargo, and put on a disk at the paths that they have here.
//!
//! A test finds the programs that it starts by paths that were compiled into it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use xshell::{Shell, cmd};

use super::disk;
use crate::shell;

/// They look at what is written, and ask nothing of a kernel.
const OF_THE_SOURCES: [&str; 5] = [
    "cited_tests",
    "copied_files",
    "file_circles",
    "readme",
    "sources",
];

/// A program full of tests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tests {
    /// As nextest names it.
    pub(super) name: String,
    pub(super) program: PathBuf,
    /// Where cargo runs it.
    pub(super) folder: PathBuf,
}

/// All that was built.
#[derive(Debug)]
pub(super) struct Programs {
    pub(super) tests: Vec<Tests>,
    files: BTreeSet<PathBuf>,
}

/// What cargo says of a thing that it has built, as far as we ask.
#[derive(Debug, Deserialize)]
struct Artifact {
    executable: Option<PathBuf>,
    manifest_path: PathBuf,
    target: Compiled,
    profile: Profile,
}

#[derive(Debug, Deserialize)]
struct Compiled {
    name: String,
    kind: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Profile {
    test: bool,
}

impl Programs {
    /// The same build as that of `cargo xtask test`; of all tests if `names` has none.
    pub(super) fn build(shell: &Shell, names: &[&str]) -> Result<Programs> {
        let options = [
            "--no-run",
            "--workspace",
            "--exclude=xtask",
            "--all-features",
            "--message-format=json-render-diagnostics",
        ];
        let targets = if names.is_empty() {
            vec!["--tests"]
        } else {
            names.iter().flat_map(|name| ["--test", *name]).collect()
        };
        let build = cmd!(shell, "cargo test {options...} {targets...}");
        eprintln!("$ {build}");
        let said = build.quiet().read().context("build the tests")?;
        Ok(Programs::of(&said))
    }

    fn of(said: &str) -> Programs {
        let artifacts = said
            .lines()
            .filter_map(|line| serde_json::from_str::<Artifact>(line).ok());
        let (mut tests, mut files) = (Vec::new(), BTreeSet::new());
        for artifact in artifacts {
            let Some(program) = artifact.executable else {
                continue;
            };
            files.insert(program.clone());
            let target = artifact.target;
            let is_library = target.kind.iter().any(|kind| kind == "lib");
            let is_test = target.kind.iter().any(|kind| kind == "test");
            let is_ours = is_test && !OF_THE_SOURCES.contains(&target.name.as_str());
            if !artifact.profile.test || !(is_library || is_ours) {
                continue;
            }
            let folder = artifact.manifest_path.parent().unwrap_or(Path::new("/"));
            let package = folder.file_name().unwrap_or_default().to_string_lossy();
            let name = if is_test {
                format!("{package}::{}", target.name)
            } else {
                package.into_owned()
            };
            tests.push(Tests {
                name,
                program,
                folder: folder.to_owned(),
            });
        }
        tests.sort();
        Programs { tests, files }
    }

    /// A program that was built, by its name.
    pub(super) fn named(&self, name: &str) -> Option<&Path> {
        let file = |file: &&PathBuf| file.file_name().is_some_and(|file| file == name);
        self.files.iter().find(file).map(PathBuf::as_path)
    }

    /// The disk, with the programs and the workspace's own files. The paths at its root are the
    /// second that is given back: the machine puts them where they are here.
    pub(super) fn disk(&self, shell: &Shell, folder: &Path) -> Result<(PathBuf, Vec<PathBuf>)> {
        let root = folder.join("work");
        shell.remove_path(&root)?;
        let mut places = BTreeSet::from([shell::root().to_owned()]);
        for file in &self.files {
            let to = below(&root, file);
            let parent = to.parent().unwrap_or(&root);
            fs::create_dir_all(parent)?;
            cmd!(shell, "strip --strip-debug -o {to} {file}")
                .quiet()
                .run()?;
        }
        let sources = cmd!(
            shell,
            "git ls-files -z --cached --others --exclude-standard"
        );
        let sources = sources.quiet().read().context("ask git for the sources")?;
        for source in sources.split('\0').filter(|source| !source.is_empty()) {
            let from = shell::root().join(source);
            // Deleted, and not yet said so to git.
            if !from.is_file() {
                continue;
            }
            let to = below(&root, &from);
            fs::create_dir_all(to.parent().unwrap_or(&root))?;
            fs::copy(&from, &to).with_context(|| format!("copy {source}"))?;
        }
        let target = shell::target();
        if !target.starts_with(shell::root()) {
            places.insert(target);
        }
        let image = disk::make(shell, &root)?;
        shell.remove_path(&root)?;
        Ok((image, places.into_iter().collect()))
    }
}

/// Where an absolute path is in another root.
fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_told_from_programs_and_from_what_looks_at_sources() {
        let artifact = |name: &str, kind: &str, test: bool| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"/w/tests/Cargo.toml","target":{{"name":"{name}","kind":["{kind}"]}},"profile":{{"test":{test}}},"executable":"/w/target/{name}"}}"#
            )
        };
        let said = [
            artifact("workspace_tests", "lib", true),
            artifact("fd_again", "test", true),
            artifact("sources", "test", true),
            artifact("demo", "bin", false),
            r#"{"reason":"build-finished","success":true}"#.into(),
        ];
        let built = Programs::of(&said.join("\n"));
        let names: Vec<&str> = built.tests.iter().map(|tests| &*tests.name).collect();
        assert_eq!(names, ["tests", "tests::fd_again"]);
        assert_eq!(built.tests[0].folder, Path::new("/w/tests"));
        assert_eq!(built.named("demo"), Some(Path::new("/w/target/demo")));
    }
}
