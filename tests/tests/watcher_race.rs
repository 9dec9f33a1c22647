//! `cancel` against the exit, many times: no answer is ever wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::thread;

use pidfd_watcher::{Cancelled, Process, WatchHandle, Watcher};
use workspace_tests::Held;

const THREADS: usize = 4;

const RUNS: u8 = 1;
const RAN: u8 = 2;
const DROPPED: u8 = 4;

/// What became of one callback, as it saw it itself.
#[derive(Default)]
struct Fate(Arc<AtomicU8>);

struct Captured(Arc<AtomicU8>);

impl Drop for Captured {
    fn drop(&mut self) {
        self.0.fetch_or(DROPPED, Ordering::SeqCst);
    }
}

impl Fate {
    fn watch(&self, watcher: &Watcher, process: &Process) -> WatchHandle {
        let captured = Captured(Arc::clone(&self.0));
        let callback = move |_| {
            assert_eq!(
                captured.0.fetch_or(RUNS, Ordering::SeqCst),
                0,
                "the first and only time"
            );
            captured.0.fetch_or(RAN, Ordering::SeqCst);
        };
        watcher.watch(process, callback).expect("watch")
    }

    fn agrees_with(&self, cancelled: Cancelled) {
        let is = self.0.load(Ordering::SeqCst);
        let must = match cancelled {
            Cancelled::Prevented => DROPPED,
            Cancelled::AlreadyRan => RUNS | RAN | DROPPED,
            Cancelled::Running => panic!("no dispatch thread asks here"),
        };
        assert_eq!(is, must, "{cancelled:?}");
    }
}

/// How often each answer was given.
#[derive(Default)]
struct Tally([AtomicUsize; 2]);

impl Tally {
    fn note(&self, cancelled: Cancelled) {
        let which = usize::from(cancelled == Cancelled::AlreadyRan);
        self.0[which].fetch_add(1, Ordering::Relaxed);
    }

    fn counts(&self) -> [usize; 2] {
        self.0.each_ref().map(|count| count.load(Ordering::Relaxed))
    }
}

/// Small numbers that differ from round to round: xorshift.
fn random(state: &mut u32) -> u32 {
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    *state
}

/// A dead process is an exit that comes with the watch: the cheapest one there is. Some have two
/// handles, so that one process is two entries; all are shared by all threads, so that entries come
/// and go under them.
#[test]
fn cancel_that_races_with_an_exit_a_hundred_thousand_times_is_never_wrong() {
    const ROUNDS: usize = 25_000;
    let watcher = Watcher::new().expect("watcher");
    let children: Vec<Held> = (0..6).map(|_| Held::new()).collect();
    let mut processes = Vec::new();
    for child in &children {
        child.kill();
        child.process().wait().expect("own child");
        processes.push(child.process().clone());
        processes.push(Process::open(child.process().pid()).expect("own child"));
    }
    let tally = Tally::default();
    thread::scope(|scope| {
        for n in 0..THREADS {
            let (watcher, processes, tally) = (&watcher, &processes, &tally);
            scope.spawn(move || {
                let mut seed = 0x9e37_79b9 + u32::try_from(n).expect("few");
                for _ in 0..ROUNDS {
                    let dice = random(&mut seed);
                    let process = &processes[dice as usize % processes.len()];
                    let fate = Fate::default();
                    let handle = fate.watch(watcher, process);
                    if dice & 0x1000 != 0 {
                        for _ in 0..(dice >> 13) % 512 {
                            std::hint::spin_loop();
                        }
                    }
                    let cancelled = handle.cancel();
                    fate.agrees_with(cancelled);
                    tally.note(cancelled);
                }
            });
        }
    });
    let [prevented, ran] = tally.counts();
    eprintln!("{prevented} prevented, {ran} had run");
    assert_eq!(prevented + ran, THREADS * ROUNDS);
    assert!(
        prevented > 0 && ran > 0,
        "a race has two ends: {prevented} and {ran}"
    );
}

/// A hundred callbacks of one process that is killed meanwhile: cancelled from the far end, so that
/// the canceller and the dispatch thread meet somewhere in between.
#[test]
fn cancel_that_meets_the_dispatch_of_its_own_process_is_never_wrong() {
    const PROCESSES: usize = 50;
    const WATCHES: usize = 100;
    let watcher = Watcher::new().expect("watcher");
    let tally = Tally::default();
    thread::scope(|scope| {
        for n in 0..THREADS {
            let (watcher, tally) = (&watcher, &tally);
            scope.spawn(move || {
                for round in 0..PROCESSES {
                    let child = Held::new();
                    let mut watches: Vec<(Fate, WatchHandle)> = (0..WATCHES)
                        .map(|_| {
                            let fate = Fate::default();
                            let handle = fate.watch(watcher, child.process());
                            (fate, handle)
                        })
                        .collect();
                    if (n + round) % 4 == 0 {
                        watches.reverse();
                    }
                    child.kill();
                    if round % 2 == 0 {
                        child.process().wait().expect("own child");
                    }
                    let mut fates = Vec::new();
                    while let Some((fate, handle)) = watches.pop() {
                        let cancelled = handle.cancel();
                        fate.agrees_with(cancelled);
                        tally.note(cancelled);
                        fates.push((fate, cancelled));
                    }
                    // Nor does it run afterwards.
                    for (fate, cancelled) in fates {
                        fate.agrees_with(cancelled);
                    }
                }
            });
        }
    });
    let [prevented, ran] = tally.counts();
    eprintln!("{prevented} prevented, {ran} had run");
    assert_eq!(prevented + ran, THREADS * PROCESSES * WATCHES);
}

/// The number of a closed descriptor goes to the next process: what was under way for the old one
/// is not told to it.
#[test]
fn descriptor_number_that_goes_to_another_process_brings_it_no_old_event() {
    let watcher = Watcher::new().expect("watcher");
    let living = Held::new();
    let dead = Held::new();
    dead.kill();
    dead.process().wait().expect("own child");
    for _ in 0..5_000 {
        let old = Process::open(dead.process().pid()).expect("own child");
        let fate = Fate::default();
        let handle = fate.watch(&watcher, &old);
        drop(old);
        let cancelled = handle.cancel();
        fate.agrees_with(cancelled);
        // As a rule on the very number that the old one had.
        let new = Process::open(living.process().pid()).expect("own child");
        let fate = Fate::default();
        let handle = fate.watch(&watcher, &new);
        drop(new);
        let cancelled = handle.cancel();
        assert_eq!(cancelled, Cancelled::Prevented, "it lives");
        fate.agrees_with(cancelled);
    }
}
