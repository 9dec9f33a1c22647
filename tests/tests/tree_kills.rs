//! The runtime, OUTER, STANDBY and INNER, killed one by one and in pairs, at random instants:
//! nobody of the tree is left, and whoever had a handler for the stop signal has run it as long as
//! somebody was there to send it.

use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use pidfd_watcher::Signal;
use workspace_tests::orders::{Link, Order};
use workspace_tests::play::{Who, can, find};
use workspace_tests::trees::Tree;
use workspace_tests::{Guard, random, time_limit};

const SHIM: &str = env!("CARGO_BIN_EXE_shim_under_test");

const HOSTILE: &str = env!("CARGO_BIN_EXE_hostile_tree");

const RUNTIME: &str = env!("CARGO_BIN_EXE_tree_runtime");

/// Long enough for a handler that writes a file.
const GRACE: Duration = Duration::from_millis(300);

/// So many runs of each kind, or as many as the variable says.
const RUNS: u32 = 6;

const RUNS_VAR: &str = "WORKSPACE_TESTS_RUNS";

/// So many trees at once: most of a run is waiting.
const AT_ONCE: u32 = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// At a random instant from the start on: the shim may not have started its own processes yet.
    AnyTime,
    /// The whole tree lives.
    Ready,
}

/// A tree under the shim, and the processes above it.
struct Play {
    tree: Tree,
    runtime: Guard,
}

impl Play {
    fn begin(contain: &str, link: Link) -> Play {
        let tree = Tree::new();
        let folder = tree.folder().to_owned();
        let leader = Order::HostileTree { folder }.argument();
        let words = [
            SHIM,
            &format!("--contain={contain}"),
            "--",
            HOSTILE,
            &leader,
        ];
        let mut words: Vec<String> = words.map(str::to_owned).to_vec();
        if link == Link::Parent {
            words.insert(1, format!("--stop-timeout={}ms", GRACE.as_millis()));
            words.insert(1, "--watch=parent:".to_owned());
        }
        let order = Order::Runtime {
            command: words,
            link,
            grace: GRACE,
        };
        let runtime = Guard::spawn(order.to(RUNTIME).stdin(Stdio::null()).stdout(Stdio::null()));
        Play { tree, runtime }
    }
}

/// One run. Whether the leader was ready to be told, and was.
fn run(contain: &'static str, link: Link, who: &[Who], when: When, delay: Duration) {
    let play = Play::begin(contain, link);
    match when {
        When::Ready => play.tree.ready(),
        When::AnyTime => thread::sleep(delay),
    }
    let ready = play.tree.has("ready");
    for process in find(play.runtime(), who, contain) {
        // It may have been killed by the kernel meanwhile: with its PID namespace.
        let _ = process.send_signal(Signal::KILL);
    }
    if !who.contains(&Who::Runtime) && when == When::AnyTime {
        // Those of them who did not exist yet were not killed: then the runtime's end is the
        // tree's.
        let mut runtime = play.runtime;
        runtime.kill().expect("own child");
        runtime.wait_deadline();
        play.tree.gone();
        return;
    }
    play.tree_is_gone();
    if ready && Who::leaves_good_order(who, contain) {
        assert!(
            play.tree.has("term"),
            "{contain} {who:?}: the handler did not run"
        );
    }
}

impl Play {
    fn runtime(&self) -> i32 {
        i32::try_from(self.runtime.id()).expect("a pid")
    }

    /// Nobody of the tree is left, while the runtime, where it was not killed, lives on.
    fn tree_is_gone(&self) {
        let start = Instant::now();
        loop {
            // The runtime's own command line names the folder.
            let mut left = self.tree.living();
            left.retain(|pid| *pid != self.runtime());
            if left.is_empty() {
                return;
            }
            assert!(start.elapsed() < time_limit(), "left: {left:?}");
            thread::sleep(Duration::from_millis(2));
        }
    }
}

fn runs() -> u32 {
    let asked = std::env::var(RUNS_VAR).ok();
    asked.map_or(RUNS, |asked| asked.parse().expect("a number"))
}

fn kill(contain: &'static str, link: Link, who: &'static [Who]) {
    if !can(SHIM, contain) {
        return;
    }
    let mut random = random();
    let delays: Vec<Duration> = (0..runs())
        .map(|_| Duration::from_micros(random.usize(..20_000) as u64))
        .collect();
    let share = delays.len().div_ceil(AT_ONCE as usize).max(1);
    thread::scope(|scope| {
        for delays in delays.chunks(share) {
            scope.spawn(move || {
                for (turn, delay) in delays.iter().enumerate() {
                    let when = if turn % 2 == 0 {
                        When::Ready
                    } else {
                        When::AnyTime
                    };
                    run(contain, link, who, when, *delay);
                }
            });
        }
    });
}

macro_rules! kills {
    ($($name:ident: $contain:literal, $link:ident, [$($who:ident),+];)*) => {
        $(
            #[test]
            fn $name() {
                kill($contain, Link::$link, &[$(Who::$who),+]);
            }
        )*
    };
}

kills! {
    tree_is_gone_when_its_runtime_is_killed: "subreaper", Watchdog, [Runtime];
    tree_is_gone_when_its_parent_is_killed: "subreaper", Parent, [Runtime];
    tree_is_gone_when_outer_is_killed: "subreaper", Watchdog, [Outer];
    tree_is_gone_when_standby_is_killed: "subreaper", Watchdog, [Standby];
    tree_is_gone_when_inner_is_killed: "subreaper", Watchdog, [Inner];
    tree_is_gone_when_runtime_and_outer_are_killed: "subreaper", Watchdog, [Runtime, Outer];
    tree_is_gone_when_runtime_and_inner_are_killed: "subreaper", Watchdog, [Runtime, Inner];
    tree_is_gone_when_outer_and_inner_are_killed: "subreaper", Watchdog, [Outer, Inner];
    tree_is_gone_when_standby_and_inner_are_killed: "subreaper", Watchdog, [Standby, Inner];
    tree_is_gone_when_runtime_outer_and_inner_are_killed:
        "subreaper", Watchdog, [Runtime, Outer, Inner];
    cgroup_is_gone_when_its_runtime_is_killed: "cgroup", Watchdog, [Runtime];
    cgroup_is_gone_when_outer_is_killed: "cgroup", Watchdog, [Outer];
    cgroup_is_gone_when_inner_is_killed: "cgroup", Watchdog, [Inner];
    cgroup_is_gone_when_runtime_and_outer_are_killed: "cgroup", Watchdog, [Runtime, Outer];
    cgroup_is_gone_when_runtime_and_inner_are_killed: "cgroup", Watchdog, [Runtime, Inner];
    cgroup_is_gone_when_outer_and_inner_are_killed: "cgroup", Watchdog, [Outer, Inner];
    namespace_is_gone_when_its_runtime_is_killed: "pidns", Watchdog, [Runtime];
    namespace_is_gone_when_outer_is_killed: "pidns", Watchdog, [Outer];
    namespace_is_gone_when_inner_is_killed: "pidns", Watchdog, [Inner];
    namespace_is_gone_when_runtime_and_outer_are_killed: "pidns", Watchdog, [Runtime, Outer];
    namespace_is_gone_when_runtime_and_inner_are_killed: "pidns", Watchdog, [Runtime, Inner];
    namespace_is_gone_when_outer_and_inner_are_killed: "pidns", Watchdog, [Outer, Inner];
    namespace_is_gone_when_all_three_are_killed: "pidns", Watchdog, [Runtime, Outer, Inner];
}
