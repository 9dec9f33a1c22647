//! Builds the mutated copy, and reads what Cargo says of it.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Result, bail};
use serde::Deserialize;

use super::sources::CRATES;
use crate::long::{Contained, Ended, Interrupt};

/// More than any build takes.
const LIMIT: Duration = Duration::from_secs(2 * 3600);

/// Something that the compiler refused.
#[derive(Debug)]
pub(crate) struct Complaint {
    /// The files and bytes that it is about, those first that it is most about.
    pub(crate) places: Vec<(String, Range<usize>)>,
    pub(crate) rendered: String,
}

/// A program that was built.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    /// If it is a test harness: what it tests, and the folder of its package.
    pub(crate) tests: Option<(String, PathBuf)>,
}

/// Builds the crates alone.
pub(crate) fn build(tree: &Path, target: &Path, interrupt: &Interrupt) -> Result<Vec<Complaint>> {
    let mut arguments = vec!["build", "--keep-going"];
    for name in CRATES {
        arguments.extend(["-p", name]);
    }
    let (complaints, _, has_built) = run(tree, target, &arguments, interrupt)?;
    if !has_built && complaints.is_empty() {
        bail!("the copy does not build, and no compiler says why");
    }
    Ok(complaints)
}

/// Builds every test harness and every program that a test may start.
pub(crate) fn build_tests(
    tree: &Path,
    target: &Path,
    interrupt: &Interrupt,
) -> Result<Vec<Program>> {
    let arguments = [
        "test",
        "--no-run",
        "--workspace",
        "--exclude",
        "xtask",
        "--tests",
    ];
    let (complaints, programs, has_built) = run(tree, target, &arguments, interrupt)?;
    if let Some(first) = complaints.first() {
        bail!("the tests of the copy do not build:\n{}", first.rendered);
    }
    if !has_built {
        bail!("the tests of the copy do not build");
    }
    Ok(programs)
}

/// What it complained of, what it built, and whether it built all of it.
fn run(
    tree: &Path,
    target: &Path,
    arguments: &[&str],
    interrupt: &Interrupt,
) -> Result<(Vec<Complaint>, Vec<Program>, bool)> {
    let mut command = Contained::command("cargo");
    command
        .args(arguments)
        .args(["--all-features", "--message-format=json"])
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", target)
        // The disk would be full of what nobody looks at.
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut cargo = Contained::start(&mut command)?;
    let (out, error) = cargo.streams();
    let [out, error] = [out.map(read), error.map(read)];
    let ended = cargo.wait(LIMIT, interrupt)?;
    let said = |reader: Option<JoinHandle<String>>| reader.and_then(|it| it.join().ok());
    let (out, error) = (
        said(out).unwrap_or_default(),
        said(error).unwrap_or_default(),
    );
    let (mut complaints, mut programs) = (Vec::new(), Vec::new());
    for line in out.lines() {
        match serde_json::from_str(line) {
            Ok(Message::Complaint { message }) if message.level == "error" => {
                complaints.extend(message.complaint());
            }
            Ok(Message::Built(artifact)) => programs.extend(artifact.programs()),
            _ => {}
        }
    }
    let has_built = matches!(ended, Ended::Exited(status) if status.success());
    if !has_built && complaints.is_empty() {
        eprint!("{error}");
    }
    Ok((complaints, programs, has_built))
}

/// Read on a thread: a pipe that is full would stop the one who writes.
fn read(pipe: impl io::Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || io::read_to_string(pipe).unwrap_or_default())
}

#[derive(Debug, Deserialize)]
#[serde(tag = "reason")]
enum Message {
    #[serde(rename = "compiler-message")]
    Complaint { message: Diagnostic },
    #[serde(rename = "compiler-artifact")]
    Built(Artifact),
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
struct Diagnostic {
    level: String,
    spans: Vec<Span>,
    children: Vec<Diagnostic>,
    rendered: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Span {
    file_name: String,
    byte_start: usize,
    byte_end: usize,
    is_primary: bool,
    expansion: Option<Box<Expansion>>,
}

#[derive(Debug, Deserialize)]
struct Expansion {
    span: Span,
}

impl Diagnostic {
    /// `None` for the last words, which only count the others.
    fn complaint(&self) -> Option<Complaint> {
        let (primary, others): (Vec<&Span>, Vec<&Span>) =
            self.spans.iter().partition(|span| span.is_primary);
        let children = self.children.iter().flat_map(|child| &child.spans);
        let mut places = Vec::new();
        for span in primary.into_iter().chain(others).chain(children) {
            span.places(&mut places);
        }
        (!places.is_empty()).then(|| Complaint {
            places,
            rendered: self.rendered.clone().unwrap_or_default(),
        })
    }
}

impl Span {
    fn places(&self, places: &mut Vec<(String, Range<usize>)>) {
        places.push((self.file_name.clone(), self.byte_start..self.byte_end));
        if let Some(expansion) = &self.expansion {
            expansion.span.places(places);
        }
    }
}

#[derive(Debug, Deserialize)]
struct Artifact {
    manifest_path: PathBuf,
    target: OfPackage,
    profile: Profile,
    executable: Option<PathBuf>,
    filenames: Vec<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct OfPackage {
    name: String,
    kind: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Profile {
    test: bool,
}

impl Artifact {
    fn programs(self) -> Vec<Program> {
        let folder = self.manifest_path.parent().unwrap_or(Path::new("/"));
        let package = folder.file_name().unwrap_or_default().to_string_lossy();
        if let (true, Some(path)) = (self.profile.test, &self.executable) {
            let name = format!("{package}::{}", self.target.name);
            return vec![Program {
                path: path.clone(),
                tests: Some((name, folder.to_owned())),
            }];
        }
        // What is loaded into a foreign program is switched as well; what the compiler loads is
        // none of ours.
        let is_macro = self.target.kind.iter().any(|kind| kind == "proc-macro");
        let files = self.executable.into_iter().chain(
            (self.filenames.into_iter())
                .filter(|file| !is_macro && file.extension().is_some_and(|ending| ending == "so")),
        );
        files.map(|path| Program { path, tests: None }).collect()
    }
}
