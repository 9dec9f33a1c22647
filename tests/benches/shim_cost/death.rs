//! From SIGKILL of the runtime until COMMAND's handler runs.

use std::time::Duration;

use workspace_tests::fork::Fork;
use workspace_tests::orders::Order;
use workspace_tests::progress::Progress;
use workspace_tests::samples::{Samples, order};

use crate::Options;
use crate::contender::{CGROUP, COMMAND, Contender, PIDNS, SUBREAPER};
use crate::runtime::{By, Runtime, reap_all};

/// How long everybody has been idle before the runtime is killed.
const IDLE: Duration = Duration::from_millis(5);

const GRACE: Duration = Duration::from_secs(1);

const PARENT: &str = "shim, subreaper, --watch=parent";
const SETPRIV: &str = "setpriv --pdeathsig TERM";

/// Other processes of the machine, in the last of the tables.
const OTHERS: usize = 500;

pub fn measure(options: &Options) -> Vec<Samples> {
    let sizes = options.sizes.clone();
    let sizes = sizes.unwrap_or_else(|| {
        if options.quick {
            vec![0, 1]
        } else {
            vec![0, 1, 4]
        }
    });
    let rounds = options.rounds(25, 15);
    let mut all: Vec<Samples> = sizes
        .iter()
        .map(|size| {
            let what = format!("runtime of {size} GiB killed, until COMMAND's handler runs");
            let samples = Samples::new(what, "us").at("GiB", *size as f64);
            take_turns(options, samples, (*size as u64) << 30, 0, rounds)
        })
        .collect();
    let others: Vec<Fork> = (0..OTHERS)
        .map(|_| {
            Fork::run(|| {
                loop {
                    std::thread::park();
                }
            })
        })
        .collect();
    let what = format!(
        "small runtime killed beside {OTHERS} other processes, until COMMAND's handler runs"
    );
    let samples = Samples::new(what, "us").at("other processes", OTHERS as f64);
    all.push(take_turns(options, samples, 0, others.len(), rounds));
    drop(others);
    reap_all();
    all
}

fn contenders() -> Vec<(Contender, By)> {
    let watchdog = By::Watchdog(GRACE);
    let all = [
        (Contender::shim(SUBREAPER, "subreaper"), watchdog),
        (Contender::shim(CGROUP, "cgroup"), watchdog),
        (Contender::shim(PIDNS, "pidns"), watchdog),
        (
            Contender::shim(PARENT, "subreaper --watch=parent"),
            By::Spawn,
        ),
        (
            Contender::tool(SETPRIV, "setpriv --pdeathsig TERM"),
            By::Spawn,
        ),
        (
            Contender::tool("tini -s -p SIGTERM", "tini -s -p SIGTERM --"),
            By::Spawn,
        ),
    ];
    let there = all.into_iter();
    there
        .filter_map(|(contender, by)| Some((contender?, by)))
        .collect()
}

fn take_turns(
    options: &Options,
    samples: Samples,
    bytes: u64,
    others: usize,
    rounds: usize,
) -> Samples {
    let contenders = contenders();
    let mut samples = samples.compare(SUBREAPER, SETPRIV);
    let command = Order::TellStop.argument();
    let mut progress = Progress::new(samples.what.clone(), rounds + 1);
    // The first round is not counted.
    for round in 0..=rounds {
        for turn in order(round, contenders.len()) {
            let (contender, by) = &contenders[turn];
            let runtime = Runtime {
                by: *by,
                line: &contender.line(&[COMMAND, &command]),
                bytes,
                early: options.early,
            };
            let mut running = runtime.start();
            std::thread::sleep(IDLE);
            let start = running.kill();
            let told = running.told();
            running.ended(others);
            if round > 0 {
                samples.push(contender.name, told.saturating_sub(start) as f64 / 1e3);
            }
        }
        progress.step();
    }
    drop(progress);
    samples.print();
    samples
}
