//! Trees that fork without end, and trees of very many: nobody of them outlives the runtime, or the
//! shim.

use std::env;
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use workspace_tests::killings::{Program, no_matter, ready_file, words};
use workspace_tests::orders::Order;
use workspace_tests::play::{Cast, Play, Who, can};
use workspace_tests::{alone, alone_in_pid_namespace, in_each_containment};

const SHIM: &str = env!("CARGO_BIN_EXE_shim_under_test");
const FORKER: &str = env!("CARGO_BIN_EXE_forker");
const CAST: Cast = Cast {
    shim: SHIM,
    runtime: env!("CARGO_BIN_EXE_tree_runtime"),
};

/// What forks without end does so no longer than this, whatever comes of the test.
const STORM: Duration = Duration::from_secs(60);

/// Its workers fork, and reap what they have forked, all the time.
fn stress(contain: &'static str) {
    let command = |folder: &Path| {
        words([
            "stress-ng",
            "--quiet",
            "--fork",
            "4",
            "--timeout",
            &STORM.as_secs().to_string(),
            "--temp-path",
            folder.to_str().expect("a plain path"),
        ])
    };
    let program = Program {
        through: &[],
        options: &[],
        command: &command,
        // stress-ng, its four workers, and somebody whom they have forked.
        is_ready: &|play: &Play, _: &Path| {
            let named = |name| play.named(name).len();
            named("stress-ng") + named("stress-ng-fork") > 5
        },
        ended_well: &no_matter,
    };
    program.leaves_nobody(CAST, contain, Who::survived_in(contain));
}

in_each_containment! { SHIM, &["stress-ng"], stress:
    storm_of_forks_is_over in "subreaper";
    storm_of_forks_in_a_cgroup_is_over in "cgroup";
    storm_of_forks_in_a_pid_namespace_is_over in "pidns";
}

/// COMMAND is its first number: it has ended long ago when the comet is killed, and was deaf to
/// SIGTERM.
fn comet(contain: &'static str) {
    let command = |folder: &Path| {
        let order = Order::Comet {
            folder: folder.to_owned(),
            lasts: STORM,
        };
        words([FORKER, &order.argument()])
    };
    let program = Program {
        through: &[],
        options: &["--on-exit=wait"],
        command: &command,
        is_ready: &ready_file,
        ended_well: &no_matter,
    };
    program.leaves_nobody(CAST, contain, Who::survived_in(contain));
}

in_each_containment! { SHIM, &[], comet:
    comet_is_caught in "subreaper";
    comet_in_a_cgroup_is_caught in "cgroup";
    comet_in_a_pid_namespace_is_caught in "pidns";
}

/// How many sleepers there are to be.
const MANY: u32 = 20_000;

/// So many processes there may be on this machine. Inside of a PID namespace of its own, a process
/// sees that one's limit.
fn limit() -> u32 {
    let number = |path| -> Option<u32> { fs::read_to_string(path).ok()?.trim().parse().ok() };
    let limits = ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"];
    let own = rustix::process::getrlimit(rustix::process::Resource::Nproc).current;
    let own = own.map(|own| u32::try_from(own).unwrap_or(u32::MAX));
    let limits = limits.into_iter().filter_map(number).chain(own);
    limits.min().unwrap_or(u32::MAX)
}

/// As many sleepers as there is room for, in steps of 1,000.
fn as_many_as_fit(limit: u32) -> u32 {
    // "1.00 1.00 1.00 2/345 6789": 345 threads exist.
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let used = load.split(['/', ' ']).nth(4);
    let used: u32 = used.and_then(|used| used.parse().ok()).unwrap_or(0);
    // The rest is left to everybody else.
    let room = limit.saturating_sub(used + 2_000);
    let many = MANY.min(room / 1_000 * 1_000);
    if many < MANY {
        eprintln!("skipped: {MANY} sleepers; of {limit} processes, there is room for {many}");
    }
    many
}

/// One such tree at a time on this machine: many have no numbers for two of them.
fn one_at_a_time() -> Option<File> {
    // The process that runs the body: whoever has started it holds the lock.
    if alone::is_inside() {
        return None;
    }
    let shared = File::open(env::temp_dir()).expect("the folder for temporary files");
    flock(&shared, FlockOperation::LockExclusive).expect("flock(2)");
    Some(shared)
}

/// Everybody sleeps. A tree of this size takes seconds to start and to end, so that each test plays
/// it once: INNER is in charge of those who obey, another process of the shim, or the kernel, of
/// those who do not.
fn sleepers(contain: &'static str, ignore_term: bool, limit: u32) {
    let count = as_many_as_fit(limit);
    let command = |folder: &Path| {
        let order = Order::Sleepers {
            folder: folder.to_owned(),
            count,
            ignore_term,
        };
        words([FORKER, &order.argument()])
    };
    let program = Program {
        through: &[],
        options: &[],
        command: &command,
        is_ready: &ready_file,
        ended_well: &no_matter,
    };
    let killed: &[Who] = match (contain, ignore_term) {
        (_, false) => &[Who::Runtime],
        ("pidns", true) => Who::ALL_THREE,
        (_, true) => &[Who::Outer, Who::Inner],
    };
    program.leaves_nobody(CAST, contain, [killed]);
}

macro_rules! sleepers {
    ($($name:ident: $contain:literal, $ignore_term:literal;)+) => {
        $(
            #[test]
            fn $name() {
                if can(SHIM, $contain) {
                    let limit = limit();
                    let _lock = one_at_a_time();
                    alone_in_pid_namespace!({ sleepers($contain, $ignore_term, limit) });
                }
            }
        )+
    };
}

sleepers! {
    twenty_thousand_sleepers_are_gone: "subreaper", false;
    twenty_thousand_sleepers_are_gone_from_a_cgroup: "cgroup", false;
    twenty_thousand_sleepers_are_gone_from_a_pid_namespace: "pidns", false;
    twenty_thousand_who_ignore_the_stop_signal_are_gone: "subreaper", true;
    twenty_thousand_who_ignore_the_stop_signal_are_gone_from_a_cgroup: "cgroup", true;
    twenty_thousand_who_ignore_the_stop_signal_are_gone_from_a_pid_namespace: "pidns", true;
}
