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

use std::collections::HashSet;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};

use self::cfg::Cfg;
use self::edit::Point;
use self::job::Job;
use self::judge::Judge;
use self::reach::Reach;
use self::sources::Source;
use self::tests::Test;
use self::tree::Tree;
use self::verdict::{Verdict, Verdicts};
use crate::shell;

/// Change the code in thousands of ways, one at a time, and see whether a test fails
///
/// Compiles all mutants at once; a number in the programs says which one is on. Runs every test once
/// to learn what it reaches, then for each mutant the tests that reach it, until one fails. Tests run
/// in namespaces of their own, with limits. What is known is kept in target/mutants: a run that was
/// interrupted goes on where it was, and after a change only what it may have changed is judged
/// again.
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
        let chosen: Vec<&Point> = points.filter(|point| self.wants(point)).collect();
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
        let stop = AtomicBool::new(false);
        self.judge(&folder, &sources, &chosen, &stop)
    }

    fn judge(
        &self,
        folder: &Path,
        sources: &[Source],
        chosen: &[&Point],
        stop: &AtomicBool,
    ) -> Result<()> {
        let (build, map) = (folder.join("build"), folder.join("map"));
        let mut tree = Tree::copy(folder.join("tree"), &map, sources)?;
        let dropped = viable(folder, &mut tree, sources, &build)?;
        tree.tidy()?;
        eprintln!("{} mutants compile; building the tests", tree::map_length(sources) - 1 - dropped.len());
        let programs = cargo::build_tests(tree.root(), &build)?;
        let mut tests = tests::of(&programs)?;
        if let Some(name) = &self.tests {
            tests.retain(|test| test.label().contains(name.as_str()));
        }
        let built = build.join("debug");
        fs::write(&map, "")?;
        let length = tree::map_length(sources);
        let mut jobs = (0..self.jobs.max(1))
            .map(|number| Job::new(number, folder, &programs, &built, &map, length))
            .collect::<Result<Vec<Job>>>()?;

        eprintln!("{} tests", tests.len());
        let reach = reach::record(&mut jobs, &tests, &folder.join("reach"), stop, |_| {})?;
        let (tests, reach): (Vec<Test>, Vec<Reach>) = (tests.into_iter().zip(reach))
            .filter_map(|(test, reach)| Some((test, reach?)))
            .unzip();
        for (test, _) in tests.iter().zip(&reach).filter(|(_, reach)| !reach.passes) {
            eprintln!("fails without a mutant: {}", test.label());
        }

        let verdicts = Verdicts::open(&folder.join("verdicts"))?;
        let judge = Judge::new(&tests, reach.iter().collect(), verdicts, Duration::from_secs(self.budget));
        let all: Vec<&Point> = sources.iter().flat_map(|source| &source.found.points).collect();
        let mut suspects = judge::suspects(all.into_iter());
        let chosen_numbers: HashSet<u32> = chosen.iter().map(|point| point.number).collect();
        suspects.retain(|suspect| {
            let number = suspect.point.number;
            chosen_numbers.contains(&number) && !dropped.contains(&number)
        });
        let verdicts = judge.all(&mut jobs, &suspects, stop, |suspect, verdict| match verdict {
            Verdict::Caught(_) | Verdict::TimedOut(_) => {}
            verdict => eprintln!("{verdict:?}: {}", suspect.point),
        })?;
        let mut text = String::new();
        for point in chosen {
            if let Some(verdict) = verdicts.get(&point.number) {
                text += &format!("{verdict:?}\t{point}\n");
            }
        }
        fs::write(folder.join("last"), text)?;
        print!("{}", summary::table(chosen, &dropped, &verdicts));
        Ok(())
    }

    fn wants(&self, point: &Point) -> bool {
        let line = point.to_string();
        self.filters.is_empty() || self.filters.iter().any(|filter| line.contains(filter.as_str()))
    }
}

/// Leaves a copy that compiles, and says which mutants it is without. That is kept, as long as the
/// sources are the same.
fn viable(folder: &Path, tree: &mut Tree, sources: &[Source], build: &Path) -> Result<HashSet<u32>> {
    let mut key = DefaultHasher::new();
    for source in sources {
        (&source.path, &source.text).hash(&mut key);
        source.found.points.len().hash(&mut key);
    }
    let key = format!("{:016x}", key.finish());
    let file = folder.join("dropped");
    let kept = fs::read_to_string(&file).unwrap_or_default();
    let mut dropped = match kept.split_once('\n') {
        Some((of, numbers)) if of == key => numbers.lines().filter_map(|line| line.parse().ok()).collect(),
        _ => HashSet::new(),
    };
    viable::write(tree, sources, build, &mut dropped, |line| eprintln!("{line}"))?;
    let mut text = key + "\n";
    for number in &dropped {
        text += &format!("{number}\n");
    }
    fs::write(&file, text).context("keep which mutants do not compile")?;
    Ok(dropped)
}
