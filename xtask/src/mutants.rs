//! `cargo xtask mutants`: whether the tests notice when the code does something else.

mod cargo;
mod cfg;
mod edit;
mod find;
mod job;
mod judge;
mod operators;
mod programs;
mod reach;
mod rewrite;
mod sandbox;
mod sources;
mod summary;
mod tests;
mod tree;
mod values;
mod verdict;
mod viable;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};

use self::cfg::Cfg;
use self::edit::Point;
use self::job::{Common, Job};
use self::judge::{Judge, Suspect};
use self::sources::Source;
use self::tree::Tree;
use self::verdict::{Verdict, Verdicts};
use crate::long::{Interrupt, Progress};
use crate::shell;

/// Change the code in thousands of ways, one at a time, and see whether a test fails
///
/// Compiles all mutants at once; a number in the programs says which one is on. Runs every test
/// once to learn what it reaches, then for each mutant the tests that reach it, until one fails.
/// Tests run in namespaces of their own, with limits. What is known is kept in target/mutants: a
/// run that was interrupted goes on where it was, and after a change only what it may have changed
/// is judged again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The mutants with one of these in their lines: a crate, a file, a function
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    /// How many are judged at once
    #[arg(short, long, default_value_t = 2)]
    jobs: usize,
    /// How long the tests of one mutant may take; one that is not caught by then counts as missed
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    budget: u64,
    /// Only every Nth mutant: a sample
    #[arg(long, value_name = "N", default_value_t = 1)]
    every: usize,
    /// Only the tests with this in their names
    #[arg(long, value_name = "NAME")]
    tests: Option<String>,
    /// Only show the mutants
    #[arg(long)]
    list: bool,
}

impl Args {
    pub(crate) fn run(&self) -> Result<()> {
        let shell = shell::shell()?;
        let cfg = Cfg::of_the_compiler(&shell)?;
        let sources = sources::read(&cfg)?;
        let points = sources.iter().flat_map(|source| &source.found.points);
        let chosen = points.filter(|point| self.wants(point));
        let chosen: Vec<&Point> = chosen.step_by(self.every.max(1)).collect();
        if self.list {
            for point in &chosen {
                println!("{point}");
            }
            println!("{} mutants", chosen.len());
            return Ok(());
        }
        let folder = shell::target().join("mutants");
        fs::create_dir_all(&folder)?;
        let lock = File::create(folder.join("lock"))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            bail!("another run is under way in {}", folder.display());
        }
        let interrupt = Interrupt::catch()?;
        self.judge(&folder, &sources, &chosen, &interrupt)
    }

    fn judge(
        &self,
        folder: &Path,
        sources: &[Source],
        chosen: &[&Point],
        interrupt: &Interrupt,
    ) -> Result<()> {
        let (build, map) = (folder.join("build"), folder.join("map"));
        fs::write(&map, "").context("create the map of what is reached")?;
        let length = tree::map_length(sources);
        let mut tree = Tree::copy(folder.join("tree"), &map, sources)?;
        let dropped = viable(folder, &mut tree, sources, &build, interrupt)?;
        tree.tidy()?;
        let count = length - 1 - dropped.len();
        eprintln!("{count} mutants compile; now the tests");
        let programs = cargo::build_tests(tree.root(), &build, interrupt)?;
        let mut tests = tests::of(&programs)?;
        if let Some(name) = &self.tests {
            tests.retain(|test| test.label().contains(name.as_str()));
        }
        let common = Common {
            folder,
            programs: &programs,
            built: &build.join("debug"),
            map: &map,
            length,
            interrupt,
        };
        let mut jobs = common.jobs(self.jobs)?;
        let reach = reach::record(&mut jobs, &tests, &folder.join("reach"))?;
        for (test, _) in tests.iter().zip(&reach).filter(|(_, reach)| !reach.passes) {
            eprintln!("fails without a mutant: {}", test.label());
        }
        let numbers: HashSet<u32> = chosen.iter().map(|point| point.number).collect();
        let all = sources.iter().flat_map(|source| &source.found.points);
        let mut suspects = judge::suspects(all);
        suspects.retain(|suspect| {
            let number = &suspect.point.number;
            numbers.contains(number) && !dropped.contains(number)
        });
        let kept = Verdicts::open(&folder.join("verdicts"), self.tests.is_none())?;
        let budget = Duration::from_secs(self.budget);
        let judge = Judge::new(&tests, &reach, sources::numbers(sources), kept, budget);
        let (verdicts, done) = all_verdicts(&judge, &mut jobs, &suspects);
        for point in chosen {
            match verdicts.get(&point.number) {
                None | Some(Verdict::Caught(_) | Verdict::TimedOut(_)) => {}
                Some(verdict) => println!("{verdict:?}: {point}"),
            }
        }
        println!("{}", summary::table(chosen, &dropped, &verdicts));
        done
    }

    fn wants(&self, point: &Point) -> bool {
        let line = point.to_string();
        self.filters.is_empty()
            || self
                .filters
                .iter()
                .any(|filter| line.contains(filter.as_str()))
    }
}

/// The verdicts by the numbers of the mutants, and whether it came to its end.
fn all_verdicts(
    judge: &Judge<'_>,
    jobs: &mut [Job],
    suspects: &[Suspect<'_>],
) -> (HashMap<u32, Verdict>, Result<()>) {
    let progress = Mutex::new(Progress::new("mutants", suspects.len()));
    let verdicts = Mutex::new(HashMap::new());
    let done = judge.all(jobs, suspects, |suspect, verdict| {
        if let (Ok(mut progress), Ok(mut verdicts)) = (progress.lock(), verdicts.lock()) {
            progress.step();
            verdicts.insert(suspect.point.number, verdict);
        }
    });
    (verdicts.into_inner().unwrap_or_default(), done)
}

/// Leaves a copy that compiles, and says which mutants it is without. That is kept, as long as the
/// sources are the same.
fn viable(
    folder: &Path,
    tree: &mut Tree,
    sources: &[Source],
    build: &Path,
    interrupt: &Interrupt,
) -> Result<HashSet<u32>> {
    let mut key = DefaultHasher::new();
    for source in sources {
        (&source.path, &source.text).hash(&mut key);
        source.found.points.len().hash(&mut key);
    }
    let key = format!("{:016x}", key.finish());
    let file = folder.join("dropped");
    let kept = fs::read_to_string(&file).unwrap_or_default();
    let mut dropped = match kept.split_once('\n') {
        Some((of, numbers)) if of == key => numbers
            .lines()
            .filter_map(|line| line.parse().ok())
            .collect(),
        _ => HashSet::new(),
    };
    viable::write(tree, sources, build, &mut dropped, interrupt)?;
    let numbers = dropped.iter().map(u32::to_string);
    let lines: Vec<String> = std::iter::once(key).chain(numbers).collect();
    fs::write(&file, lines.join("\n")).context("keep which mutants do not compile")?;
    Ok(dropped)
}
