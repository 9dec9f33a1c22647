//! Trees of many processes, and their end.

use std::time::Duration;

use workspace_tests::orders::Order;
use workspace_tests::progress::Progress;
use workspace_tests::samples::{Samples, order};

use crate::Options;
use crate::contender::{BWRAP_PIDNS, CGROUP, COMMAND, Contender, PIDNS, SUBREAPER};
use crate::runtime::{By, Runtime};

/// Long enough for the stop signal to reach everybody before it ends.
const GRACE: Duration = Duration::from_secs(2);

pub fn grace(options: &Options) -> Vec<Samples> {
    vec![take_turns(1_000, true, options.rounds(9, 3))]
}

pub fn sweep(options: &Options) -> Vec<Samples> {
    let trees = options.trees.clone();
    let trees = trees.unwrap_or_else(|| {
        if options.quick {
            vec![1_000, 5_000]
        } else {
            vec![1_000, 5_000, 10_000, 20_000]
        }
    });
    let mut all = Vec::new();
    for ignore_term in [false, true] {
        for count in &trees {
            let rounds = options.rounds(if *count > 5_000 { 3 } else { 5 }, 2);
            all.push(take_turns(*count, ignore_term, rounds));
        }
    }
    println!("\nmedian for each process [us]");
    for samples in &all {
        for row in &samples.rows {
            let each = row.median() * 1e3 / samples.at;
            println!(
                "  {:>6} {:<34} {each:>8.1}  {}",
                samples.at, row.name, samples.what
            );
        }
    }
    all
}

fn contenders(ignore_term: bool) -> Vec<(Contender, By)> {
    let watchdog = By::Watchdog(GRACE);
    let mut all = vec![
        (Contender::shim(SUBREAPER, "subreaper"), watchdog),
        (Contender::shim(CGROUP, "cgroup"), watchdog),
        (Contender::shim(PIDNS, "pidns"), watchdog),
    ];
    if !ignore_term {
        let words = "bwrap --dev-bind / / --proc /proc --die-with-parent --unshare-pid --";
        all.push((Contender::tool(BWRAP_PIDNS, words), By::Spawn));
    }
    all.into_iter()
        .filter_map(|(contender, by)| Some((contender?, by)))
        .collect()
}

fn take_turns(count: usize, ignore_term: bool, rounds: usize) -> Samples {
    let what = if ignore_term {
        format!("{count} that ignore TERM, from the end of the grace until nobody is left")
    } else {
        format!("{count} that sleep, from SIGKILL of the runtime until nobody is left")
    };
    let limit = if ignore_term { PIDNS } else { BWRAP_PIDNS };
    let mut samples = Samples::new(what, "ms")
        .at("processes", count as f64)
        .compare(SUBREAPER, limit);
    let order_of_crowd = Order::Crowd { count, ignore_term }.argument();
    let contenders = contenders(ignore_term);
    let mut progress = Progress::new(samples.what.clone(), rounds);
    for round in 0..rounds {
        for turn in order(round, contenders.len()) {
            let (contender, by) = &contenders[turn];
            let runtime = Runtime {
                by: *by,
                line: &contender.line(&[COMMAND, &order_of_crowd]),
                bytes: 0,
                early: false,
            };
            let mut running = runtime.start();
            let start = running.kill();
            let closed = running.closed();
            running.ended(0);
            let taken = Duration::from_nanos(closed.saturating_sub(start));
            // The deadline is set when the runtime's end was noticed, so that this counts a little
            // too much.
            let grace = if ignore_term { GRACE } else { Duration::ZERO };
            samples.push(
                contender.name,
                (taken.as_secs_f64() - grace.as_secs_f64()) * 1e3,
            );
        }
        progress.step();
    }
    drop(progress);
    samples.print();
    samples
}
