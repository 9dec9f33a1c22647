//! A runtime with many children is killed by SIGKILL: how long until they are gone, what it took to
//! start them, and what they weigh. Shims beside children with PDEATHSIG=SIGKILL (alone, and with
//! idle threads), the pipe alone, and tokio's children with `kill_on_drop`.
//!
//! ```sh
//! cargo bench -p workspace-tests --bench fleet -- \
//!     --counts 10,500,2000 --sizes 100,1024 --rounds 5 --ties shims,pdeathsig
//! ```
//!
//! Sizes in MiB, touched in 4 KiB pages before the first child is started. In each round every tie
//! has its turn, with a runtime of its own. All children run one program, which writes a byte when
//! it is tied; `started` is the time from the first spawn until all these bytes were read.
//! PDEATHSIG is set by the child, so that its spawn is the C library's `posix_spawn`. `processor
//! time` is what one child has used by then, with the kernel's part of it: it is less in the way of
//! other programs than `started` is. `--other PATH` is a child that was built otherwise, as shims.
//! The bench opens the pidfds before the kill, waits for them, and is a real-time process where
//! that is allowed; the runtime and the children are not.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use shim_spawner::{ShimSpawner, SpawnedShim};
use workspace_tests::fork::Fork;
use workspace_tests::orders::{Order, Tie as MemberTie};
use workspace_tests::progress::Progress;
use workspace_tests::samples::{Samples, order};
use workspace_tests::{clock, fd_limit, memory, proc_fs};

/// Without an end for so long, the children that are left stay.
const STAYS: Duration = Duration::from_secs(3);
/// Descriptors: those of a runtime with 2,000 children and more, and the pidfds.
const DESCRIPTORS: u64 = 20_000;
/// Of so many children the memory is looked at.
const WEIGHED: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tie {
    Shims,
    /// Built otherwise.
    Other,
    PipeAlone,
    /// With so many idle threads.
    Pdeathsig(usize),
    Tokio,
}

impl Tie {
    const ALL: [Tie; 7] = [
        Tie::Shims,
        Tie::Other,
        Tie::PipeAlone,
        Tie::Pdeathsig(0),
        Tie::Pdeathsig(1),
        Tie::Pdeathsig(2),
        Tie::Tokio,
    ];

    fn name(self) -> &'static str {
        match self {
            Tie::Shims => "shims",
            Tie::Other => "other shims",
            Tie::PipeAlone => "pipe",
            Tie::Pdeathsig(0) => "pdeathsig",
            Tie::Pdeathsig(1) => "pdeathsig+1",
            Tie::Pdeathsig(_) => "pdeathsig+2",
            Tie::Tokio => "tokio",
        }
    }

    fn order(self) -> String {
        let tie = match self {
            Tie::Shims | Tie::Other | Tie::PipeAlone => MemberTie::Watchdog,
            Tie::Pdeathsig(threads) => MemberTie::Pdeathsig { threads },
            Tie::Tokio => MemberTie::Nothing,
        };
        Order::Member(tie).argument()
    }
}

struct Options {
    counts: Vec<usize>,
    mebibytes: Vec<u64>,
    ties: Vec<Tie>,
    other: Option<String>,
    rounds: Option<usize>,
}

impl Options {
    fn from_args() -> Options {
        let mut args: Vec<String> = std::env::args().skip(1).collect();
        // `cargo test` runs a bench without it: see that it works.
        let bench = args.iter().any(|arg| arg == "--bench");
        let quick = args.iter().any(|arg| arg == "--quick");
        args.retain(|arg| arg != "--bench" && arg != "--quick");
        let (counts, mebibytes): (&[usize], &[u64]) = match (bench, quick) {
            (false, _) => (&[3], &[1]),
            (true, true) => (&[10, 500], &[100]),
            (true, false) => (&[10, 500, 2_000], &[100, 1_024]),
        };
        let mut options = Options {
            counts: counts.to_vec(),
            mebibytes: mebibytes.to_vec(),
            ties: Tie::ALL.to_vec(),
            other: None,
            rounds: (!bench).then_some(1),
        };
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
            match arg.as_str() {
                "--rounds" => options.rounds = Some(value().parse().expect("a number")),
                "--other" => options.other = Some(value()),
                "--counts" => options.counts = list(&value(), |count| count.parse().ok()),
                "--sizes" => options.mebibytes = list(&value(), |size| size.parse().ok()),
                "--ties" => {
                    let of_name = |name: &str| Tie::ALL.into_iter().find(|tie| tie.name() == name);
                    options.ties = list(&value(), of_name);
                }
                _ => panic!("what is {arg}?"),
            }
        }
        if options.other.is_none() {
            options.ties.retain(|tie| *tie != Tie::Other);
        }
        options
    }

    fn rounds(&self, count: usize) -> usize {
        self.rounds.unwrap_or(match count {
            0..=100 => 15,
            101..=1_000 => 9,
            _ => 5,
        })
    }
}

fn list<T>(text: &str, parse: impl Fn(&str) -> Option<T>) -> Vec<T> {
    let parse = |word| parse(word).unwrap_or_else(|| panic!("what is {word}?"));
    text.split(',').map(parse).collect()
}

fn main() {
    let options = Options::from_args();
    // The children of a killed runtime become ours, to be reaped.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).expect("subreaper");
    fd_limit::set(DESCRIPTORS);
    schedule(libc::SCHED_RR, 50);
    let mut all = Vec::new();
    for count in options.counts.iter().copied() {
        for mebibytes in options.mebibytes.iter().copied() {
            let samples = measure(&options, count, mebibytes);
            samples.iter().for_each(Samples::print);
            all.extend(samples);
        }
    }
    Samples::save(&all, "fleet").expect("keep the samples");
}

/// What is measured, each with its unit.
const FIGURES: [(&str, &str); 9] = [
    ("started", "ms"),
    ("processor time of a start", "us/child"),
    ("first gone", "ms"),
    ("median gone", "ms"),
    ("90th gone", "ms"),
    ("last gone", "ms"),
    ("left after three seconds", "children"),
    ("memory of a child", "KiB"),
    ("memory in the runtime", "KiB/child"),
];

fn measure(options: &Options, count: usize, mebibytes: u64) -> Vec<Samples> {
    let title = |what: &str| format!("fleet of {count}, runtime of {mebibytes} MiB, {what}");
    let mut all = FIGURES.map(|(what, unit)| {
        Samples::new(title(what), unit)
            .at("children", count as f64)
            .compare(Tie::Shims.name(), Tie::Pdeathsig(0).name())
    });
    let rounds = options.rounds(count);
    let mut progress = Progress::new(title("rounds"), rounds + 1);
    // The first round is not counted.
    for round in 0..=rounds {
        for turn in order(round, options.ties.len()) {
            let tie = options.ties[turn];
            let figures = sample(options, tie, count, mebibytes);
            for (samples, figure) in all.iter_mut().zip(figures) {
                if let Some(figure) = figure.filter(|_| round > 0) {
                    samples.push(tie.name(), figure);
                }
            }
        }
        progress.step();
    }
    all.into()
}

/// One fleet, from its start to its end: the figures in their order. `None`: it did not end.
fn sample(
    options: &Options,
    tie: Tie,
    count: usize,
    mebibytes: u64,
) -> [Option<f64>; FIGURES.len()] {
    let program = match &options.other {
        Some(other) if tie == Tie::Other => other,
        _ => env!("CARGO_BIN_EXE_fleet_member"),
    };
    let (report, reports) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
    let mut reports = Some(reports);
    let mut runtime = Fork::run(|| {
        let reports = reports.take().expect("the copy");
        live(tie, program, count, mebibytes, File::from(reports));
    });
    drop(reports);
    let mut report = File::from(report);
    let [started, weight] = [(); 2].map(|()| next_number(&mut report));
    let members: Vec<i32> = (0..count)
        .map(|_| next_number(&mut report) as i32)
        .collect();
    let pidfds: Vec<OwnedFd> = members.iter().map(|pid| pidfd(*pid)).collect();
    let step = count.div_ceil(WEIGHED);
    let weighed = members.iter().step_by(step).copied();
    let mean = |of: fn(i32) -> u64| {
        let sum: u64 = weighed.clone().map(of).sum();
        sum as f64 / weighed.len() as f64
    };
    let (weight_of_one, time_of_one) = (mean(proportional), mean(processor_time));
    let gone = ends(&mut runtime, &pidfds);
    let at = |share: f64| {
        // Of all, those who stay too.
        let place = ((count - 1) as f64 * share).round() as usize;
        gone.get(place).copied()
    };
    for pidfd in &pidfds {
        let _ = pidfd_send_signal(pidfd, Signal::KILL);
    }
    reap(count);
    [
        Some(started as f64 / 1e6),
        Some(time_of_one / 1e3),
        at(0.0),
        at(0.5),
        at(0.9),
        at(1.0),
        Some((count - gone.len()) as f64),
        Some(weight_of_one),
        Some(weight as f64 / count as f64),
    ]
}

/// Kills the runtime, and waits for the end of the others: after how many milliseconds each came,
/// in their order.
fn ends(runtime: &mut Fork, pidfds: &[OwnedFd]) -> Vec<f64> {
    let all = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
    for pidfd in pidfds {
        let data = epoll::EventData::new_u64(pidfd.as_raw_fd().unsigned_abs().into());
        // Once each: it stays readable.
        let once = epoll::EventFlags::IN | epoll::EventFlags::ONESHOT;
        epoll::add(&all, pidfd, data, once).expect("watch a pidfd");
    }
    // Everybody is asleep.
    std::thread::sleep(Duration::from_millis(100));
    let mut gone = Vec::with_capacity(pidfds.len());
    let mut events = Vec::with_capacity(64);
    let stays = Timespec::try_from(STAYS).expect("a short time");
    let start = clock::now();
    runtime.signal(libc::SIGKILL);
    while gone.len() < pidfds.len() {
        events.clear();
        let place = rustix::buffer::spare_capacity(&mut events);
        let came = epoll::wait(&all, place, Some(&stays)).expect("epoll_wait");
        let now = (clock::now() - start) as f64 / 1e6;
        gone.extend(std::iter::repeat_n(now, came));
        if came == 0 {
            break;
        }
    }
    runtime.wait();
    gone
}

fn pidfd(pid: i32) -> OwnedFd {
    let pid = Pid::from_raw(pid).expect("a pid");
    pidfd_open(pid, PidfdFlags::empty()).expect("pidfd_open")
}

/// So many children, which are dead or about to be.
fn reap(count: usize) {
    for _ in 0..count {
        // SAFETY: no status is asked for; what is reaped here is nobody else's.
        let reaped = unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) };
        assert!(reaped > 0, "{}", std::io::Error::last_os_error());
    }
}

/// What a runtime keeps of a member.
enum Handle {
    Shim(SpawnedShim),
    Child(Child),
    Tokio(tokio::process::Child),
}

impl Handle {
    fn pid(&self) -> u64 {
        match self {
            Handle::Shim(shim) => shim
                .child
                .pid()
                .as_raw_nonzero()
                .get()
                .unsigned_abs()
                .into(),
            Handle::Child(child) => child.id().into(),
            Handle::Tokio(child) => child.id().expect("not reaped").into(),
        }
    }
}

/// The runtime: says how long the start took, what the children weigh here, and who they are.
fn live(tie: Tie, program: &str, count: usize, mebibytes: u64, mut report: File) {
    schedule(libc::SCHED_OTHER, 0);
    let held = memory::touch(mebibytes << 20);
    let own = i32::try_from(std::process::id()).expect("a pid");
    let tokio = (tie == Tie::Tokio).then(|| {
        let builder = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        builder.expect("a tokio runtime")
    });
    let _entered = tokio.as_ref().map(tokio::runtime::Runtime::enter);
    let order = tie.order();
    let before = proportional(own);
    let (ready, is_ready) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
    let mut members = Vec::with_capacity(count);
    let start = Instant::now();
    for _ in 0..count {
        members.push(spawn(tie, program, &order, &is_ready));
    }
    drop(is_ready);
    let mut ready = File::from(ready);
    let mut left = count;
    while left > 0 {
        let read = ready.read(&mut [0; 4096]).expect("read");
        assert!(read > 0, "{left} members of {count} are not ready");
        left -= read;
    }
    let started = start.elapsed().as_nanos() as u64;
    let weight = proportional(own).saturating_sub(before);
    let pids = members.iter().map(Handle::pid);
    let said: Vec<u8> = [started, weight]
        .into_iter()
        .chain(pids)
        .flat_map(u64::to_ne_bytes)
        .collect();
    report.write_all(&said).expect("report");
    // Killed here.
    loop {
        std::thread::park();
        std::hint::black_box((&held, &members));
    }
}

fn spawn(tie: Tie, program: &str, order: &str, is_ready: &OwnedFd) -> Handle {
    let out = is_ready.try_clone().expect("dup");
    match tie {
        Tie::Shims | Tie::Other | Tie::PipeAlone => {
            let mut spawner = ShimSpawner::new(program);
            spawner
                .arg(order)
                .stdin(shim_spawner::Stdio::null())
                .stdout(out);
            spawner.sentinel(tie != Tie::PipeAlone);
            Handle::Shim(spawner.spawn().expect("spawn"))
        }
        Tie::Pdeathsig(_) => {
            let mut command = Command::new(program);
            command.arg(order).stdin(Stdio::null()).stdout(out);
            Handle::Child(command.spawn().expect("spawn"))
        }
        Tie::Tokio => {
            let mut command = tokio::process::Command::new(program);
            command.arg(order).stdin(Stdio::null()).stdout(out);
            Handle::Tokio(command.kill_on_drop(true).spawn().expect("spawn"))
        }
    }
}

/// What all threads of a process have used, in nanoseconds.
fn processor_time(pid: i32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("tasks");
    let used = |task: std::io::Result<std::fs::DirEntry>| -> Option<u64> {
        let times = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        times.split(' ').next()?.parse().ok()
    };
    tasks.filter_map(used).sum()
}

/// The proportional set, in KiB.
fn proportional(pid: i32) -> u64 {
    proc_fs::rollup(pid, &["Pss:"])
}

fn next_number(report: &mut File) -> u64 {
    let mut bytes = [0; 8];
    report.read_exact(&mut bytes).expect("the runtime reports");
    u64::from_ne_bytes(bytes)
}

/// Where it is not allowed, it stays as it is.
fn schedule(policy: i32, priority: i32) {
    let priority = libc::sched_param {
        sched_priority: priority,
    };
    // SAFETY: reads one structure.
    unsafe { libc::sched_setscheduler(0, policy, &raw const priority) };
}
