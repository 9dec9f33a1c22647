//! Turns the mutants on, one after the other, and runs the tests that reach them.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::edit::Point;
use super::job::{self, Job};
use super::reach::Reach;
use super::sandbox::Ended;
use super::tests::Test;
use super::verdict::{Verdict, Verdicts};

/// A mutant hangs if a test takes so many times as long as without one,
const TIMES: f64 = 5.0;

/// and this on top: a busy machine delays short tests most.
const SLACK: Duration = Duration::from_secs(3);

/// The longest that a test takes without a mutant, however busy the machine is.
const LONGEST: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(crate) struct Judge<'a> {
    tests: &'a [Test],
    reach: &'a [Reach],
    /// The tests that reach a point and pass without a mutant.
    reaching: HashMap<u32, Vec<usize>>,
    /// The numbers of the points of a file.
    files: HashMap<String, Range<u32>>,
    verdicts: Mutex<Verdicts>,
    /// The tests that caught mutants, by the function and by the file of these; the latest last.
    catchers: Mutex<HashMap<String, Vec<usize>>>,
    /// How long all tests of one mutant may take.
    budget: Duration,
}

/// A mutant that is to be judged.
#[derive(Debug)]
pub(crate) struct Suspect<'a> {
    pub(crate) point: &'a Point,
    /// What stays the same when other lines of its file change.
    pub(crate) name: String,
}

/// The points with their names.
pub(crate) fn suspects<'a>(points: impl Iterator<Item = &'a Point>) -> Vec<Suspect<'a>> {
    let mut seen: HashMap<String, u32> = HashMap::new();
    points
        .map(|point| {
            let plain = format!("{} {}: {}", point.file, point.function, point.what);
            let count = seen.entry(plain.clone()).or_default();
            *count += 1;
            let name = if *count == 1 {
                plain
            } else {
                format!("{plain} (number {count})")
            };
            Suspect { point, name }
        })
        .collect()
}

impl<'a> Judge<'a> {
    pub(crate) fn new(
        tests: &'a [Test],
        reach: &'a [Reach],
        files: HashMap<String, Range<u32>>,
        verdicts: Verdicts,
        budget: Duration,
    ) -> Judge<'a> {
        let mut reaching: HashMap<u32, Vec<usize>> = HashMap::new();
        for (index, reach) in reach.iter().enumerate() {
            for &point in reach.points.iter().filter(|_| reach.passes) {
                reaching.entry(point).or_default().push(index);
            }
        }
        Judge {
            tests,
            reach,
            reaching,
            files,
            verdicts: Mutex::new(verdicts),
            catchers: Mutex::default(),
            budget,
        }
    }

    /// Judges all of them; `told` hears each verdict.
    pub(crate) fn all(
        &self,
        jobs: &mut [Job],
        suspects: &[Suspect<'_>],
        told: impl Fn(&Suspect<'_>, Verdict) + Sync,
    ) -> Result<()> {
        job::share(jobs, suspects.iter(), |job, suspect| {
            let key = self.key(suspect);
            let known = self.lock()?.known(&suspect.name, key).cloned();
            // With more time it may come to an end.
            let known = known.filter(|known| *known != Verdict::Unfinished);
            let verdict = if let Some(known) = known {
                known
            } else {
                let verdict = self.one(job, suspect)?;
                self.lock()?
                    .keep(suspect.name.clone(), key, verdict.clone())?;
                verdict
            };
            self.learn(suspect, &verdict);
            told(suspect, verdict);
            Ok(())
        })
    }

    fn one(&self, job: &mut Job, suspect: &Suspect<'_>) -> Result<Verdict> {
        let order = self.order(suspect)?;
        if order.is_empty() {
            return Ok(Verdict::Unreached);
        }
        let mut left = self.budget;
        for test in order {
            let began = Instant::now();
            let label = self.tests[test].label();
            match self.run(job, suspect, test)? {
                Ended::Failed => return Ok(Verdict::Caught(label)),
                Ended::TimedOut => return Ok(Verdict::TimedOut(label)),
                Ended::Passed => {}
            }
            left = left.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Ok(Verdict::Unfinished);
            }
        }
        Ok(Verdict::Missed)
    }

    /// A machine that is busier than it was is no mutant that hangs: before the time is over, the
    /// test is asked how long it takes now without a mutant.
    fn run(&self, job: &mut Job, suspect: &Suspect<'_>, test: usize) -> Result<Ended> {
        let number = suspect.point.number;
        let limit = |usual: f64| Duration::from_secs_f64(usual * TIMES) + SLACK;
        let first = limit(self.reach[test].seconds);
        let test = &self.tests[test];
        let (ended, _) = job.run(number, test, first)?;
        if ended != Ended::TimedOut {
            return Ok(ended);
        }
        let (_, usual) = job.run(0, test, LONGEST)?;
        let second = limit(usual.as_secs_f64());
        if second < first * 2 {
            return Ok(Ended::TimedOut);
        }
        Ok(job.run(number, test, second)?.0)
    }

    /// The tests that reach it: first the one that caught it in an earlier run, then those that
    /// caught its neighbours, then the others, the fast ones first. Among these last, two that
    /// reach the same points of the file are likely to tell the same: one of each kind comes first,
    /// then a second one of each kind, and so on.
    fn order(&self, suspect: &Suspect<'_>) -> Result<Vec<usize>> {
        let Some(reaching) = self.reaching.get(&suspect.point.number) else {
            return Ok(Vec::new());
        };
        let mut fast = reaching.clone();
        let seconds = |test: usize| self.reach[test].seconds;
        fast.sort_by(|&one, &other| seconds(one).total_cmp(&seconds(other)));
        let earlier = self.lock()?.catcher(&suspect.name).map(str::to_owned);
        let earlier = fast
            .iter()
            .filter(|&&test| Some(self.tests[test].label()) == earlier);
        let mut first: Vec<usize> = earlier.copied().collect();
        let catchers = self
            .catchers
            .lock()
            .map_err(|_| anyhow!("a job panicked"))?;
        for place in places(suspect.point) {
            first.extend(catchers.get(&place).into_iter().flatten().rev());
        }
        drop(catchers);
        let file = self.files.get(&suspect.point.file);
        let mut kinds: HashMap<&[u32], usize> = HashMap::new();
        let mut ranked: Vec<((usize, usize), usize)> = fast
            .into_iter()
            .map(|test| {
                let rank = first.iter().position(|&one| one == test);
                let kind = file.map_or(&[][..], |file| within(&self.reach[test].points, file));
                let like_it = kinds.entry(kind).or_default();
                *like_it += 1;
                ((rank.unwrap_or(usize::MAX), *like_it), test)
            })
            .collect();
        ranked.sort_by_key(|&(rank, _)| rank);
        Ok(ranked.into_iter().map(|(_, test)| test).collect())
    }

    fn learn(&self, suspect: &Suspect<'_>, verdict: &Verdict) {
        let (Verdict::Caught(label) | Verdict::TimedOut(label)) = verdict else {
            return;
        };
        let test = self.tests.iter().position(|test| test.label() == *label);
        if let (Some(test), Ok(mut catchers)) = (test, self.catchers.lock()) {
            // To hang takes time: a test that fails is asked before one that hangs.
            let hangs = matches!(verdict, Verdict::TimedOut(_));
            for place in places(suspect.point) {
                let list = catchers.entry(place).or_default();
                list.retain(|&one| one != test);
                list.insert(if hangs { 0 } else { list.len() }, test);
            }
        }
    }

    /// Of the tests that reach it.
    fn key(&self, suspect: &Suspect<'_>) -> u64 {
        let mut key = DefaultHasher::new();
        for &test in self
            .reaching
            .get(&suspect.point.number)
            .into_iter()
            .flatten()
        {
            (&self.tests[test].name, self.tests[test].key).hash(&mut key);
        }
        key.finish()
    }

    fn lock(&self) -> Result<std::sync::MutexGuard<'_, Verdicts>> {
        self.verdicts.lock().map_err(|_| anyhow!("a job panicked"))
    }
}

/// Those of the sorted numbers that are in the range.
fn within<'a>(sorted: &'a [u32], range: &Range<u32>) -> &'a [u32] {
    let start = sorted.partition_point(|&number| number < range.start);
    let end = sorted.partition_point(|&number| number < range.end);
    &sorted[start..end]
}

/// Where neighbours of the point are: its function, and its file.
fn places(point: &Point) -> [String; 2] {
    [
        format!("{} {}", point.file, point.function),
        point.file.clone(),
    ]
}
