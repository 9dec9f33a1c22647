//! What stands between a runtime and COMMAND while nothing happens: its memory, and how often it
//! runs.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use workspace_tests::samples::Samples;
use workspace_tests::{Guard, proc_fs, until};

use crate::Options;
use crate::contender::{Contender, PIDNS, SUBREAPER, TINI};

const SLEEP: [&str; 2] = ["/bin/sleep", "100000"];

/// Long after COMMAND has begun, everybody has done what there was to do.
const SETTLE: Duration = Duration::from_millis(500);

/// A tool that has started `sleep`, and the processes that are not `sleep`.
struct Idle {
    name: &'static str,
    processes: Vec<i32>,
    _tool: Guard,
}

impl Idle {
    fn start(contender: &Contender) -> Idle {
        let before: Vec<i32> = proc_fs::all().iter().map(|stat| stat.pid).collect();
        let mut command = contender.command(&SLEEP);
        let tool = Guard::spawn(command.stdout(Stdio::null()));
        let fresh = || {
            let all = proc_fs::all().into_iter().map(|stat| stat.pid);
            all.filter(|pid| !before.contains(pid))
        };
        let sleeps = fs::canonicalize(SLEEP[0]).expect("sleep");
        let is_sleep =
            |pid: &i32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == sleeps);
        until("COMMAND sleeps", || {
            fresh().any(|pid| is_sleep(&pid)).then_some(())
        });
        std::thread::sleep(SETTLE);
        Idle {
            name: contender.name,
            processes: fresh().filter(|pid| !is_sleep(pid)).collect(),
            _tool: tool,
        }
    }
}

pub fn memory(options: &Options) -> Vec<Samples> {
    let titled = |what: &str| {
        Samples::new(
            format!("{what} of all between the runtime and COMMAND"),
            "KiB",
        )
        .compare(SUBREAPER, TINI)
    };
    let [mut proportional, mut private, mut count] = [
        titled("proportional set"),
        titled("private memory"),
        titled("processes"),
    ];
    count.unit = "number".into();
    for contender in Contender::between(options.other.as_deref()) {
        for _ in 0..5 {
            let idle = Idle::start(&contender);
            let sum = |fields: &[&str]| {
                let all = idle
                    .processes
                    .iter()
                    .map(|pid| proc_fs::rollup(*pid, fields));
                all.sum::<u64>() as f64
            };
            proportional.push(idle.name, sum(&["Pss:"]));
            private.push(idle.name, sum(&["Private_Clean:", "Private_Dirty:"]));
            count.push(idle.name, idle.processes.len() as f64);
            end_all();
            drop(idle);
            crate::runtime::reap_all();
        }
    }
    [proportional, private, count]
        .map(|samples| {
            samples.print();
            samples
        })
        .into()
}

pub fn rest(options: &Options) -> Vec<Samples> {
    let seconds = options
        .seconds
        .unwrap_or(if options.quick { 5 } else { 60 });
    let what = format!("switches to all between the runtime and COMMAND, at rest for {seconds} s");
    let mut samples = Samples::new(what, "number").compare(SUBREAPER, PIDNS);
    let all: Vec<Idle> = Contender::between(options.other.as_deref())
        .iter()
        .map(Idle::start)
        .collect();
    let count = |idle: &Idle| idle.processes.iter().map(|pid| switches(*pid)).sum::<u64>();
    let before: Vec<u64> = all.iter().map(count).collect();
    std::thread::sleep(Duration::from_secs(seconds));
    for (idle, before) in all.iter().zip(before) {
        samples.push(idle.name, (count(idle) - before) as f64);
    }
    samples.print();
    end_all();
    drop(all);
    crate::runtime::reap_all();
    vec![samples]
}

/// Voluntary and other context switches of all threads.
fn switches(pid: i32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives");
    let of = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let lines = text.lines().filter(|line| line.contains("ctxt_switches:"));
        let numbers =
            lines.filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok());
        numbers.sum::<u64>()
    };
    tasks.flatten().map(of).sum()
}

/// Asks everybody else here to end. After SIGKILL a shim would leave its cgroup behind.
fn end_all() {
    // SAFETY: kill(2) has no memory effect. This process is pid 1 of a namespace in which everybody
    // is its own.
    unsafe { libc::kill(-1, libc::SIGTERM) };
}
