//! Turns the mutants on, one after the other, and runs the tests that reach them.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::time::Duration;

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
const SLACK: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Judge<'a> {
    tests: &'a [Test],
    reach: &'a [Reach],
    /// The tests that reach a point and pass without a mutant.
    reaching: HashMap<u32, Vec<usize>>,
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
            let verdict = match known {
                Some(known) => known,
                None => {
                    let verdict = self.one(job, suspect)?;
                    self.lock()?
                        .keep(suspect.name.clone(), key, verdict.clone())?;
                    verdict
                }
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
            let label = self.tests[test].label();
            let usual = self.reach[test].seconds;
            let limit = Duration::from_secs_f64(usual * TIMES) + SLACK;
            let (ended, took) = job.run(suspect.point.number, &self.tests[test], limit)?;
            match ended {
                Ended::Failed => return Ok(Verdict::Caught(label)),
                Ended::TimedOut => return Ok(Verdict::TimedOut(label)),
                Ended::Passed => {}
            }
            left = left.saturating_sub(took);
            if left.is_zero() {
                return Ok(Verdict::Unfinished);
            }
        }
        Ok(Verdict::Missed)
    }

    /// The tests that reach it: first the one that caught it in an earlier run, then those that
    /// caught its neighbours, then the fast ones that reach little else.
    fn order(&self, suspect: &Suspect<'_>) -> Result<Vec<usize>> {
        let Some(reaching) = self.reaching.get(&suspect.point.number) else {
            return Ok(Vec::new());
        };
        let mut order = reaching.clone();
        let cost = |&test: &usize| {
            let reach = &self.reach[test];
            #[allow(clippy::cast_precision_loss, reason = "a rank, not a count")]
            let width = reach.points.len() as f64;
            (reach.seconds + 0.02) * width.sqrt()
        };
        order.sort_by(|one, other| cost(one).total_cmp(&cost(other)));
        let mut first = Vec::new();
        let earlier = self.lock()?.catcher(&suspect.name).map(str::to_owned);
        first.extend(
            order
                .iter()
                .copied()
                .find(|&test| Some(self.tests[test].label()) == earlier),
        );
        let catchers = self
            .catchers
            .lock()
            .map_err(|_| anyhow!("a job panicked"))?;
        for place in places(suspect.point) {
            first.extend(catchers.get(&place).into_iter().flatten().rev());
        }
        drop(catchers);
        let rank = |test: &usize| {
            first
                .iter()
                .position(|one| one == test)
                .unwrap_or(usize::MAX)
        };
        order.sort_by_key(rank);
        Ok(order)
    }

    fn learn(&self, suspect: &Suspect<'_>, verdict: &Verdict) {
        let (Verdict::Caught(label) | Verdict::TimedOut(label)) = verdict else {
            return;
        };
        let test = self.tests.iter().position(|test| test.label() == *label);
        if let (Some(test), Ok(mut catchers)) = (test, self.catchers.lock()) {
            for place in places(suspect.point) {
                let list = catchers.entry(place).or_default();
                list.retain(|&one| one != test);
                list.push(test);
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

/// Where neighbours of the point are: its function, and its file.
fn places(point: &Point) -> [String; 2] {
    [
        format!("{} {}", point.file, point.function),
        point.file.clone(),
    ]
}
