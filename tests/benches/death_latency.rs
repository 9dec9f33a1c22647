//! From SIGKILL of a parent to its child knowing: the sentinel beside the pipe alone, a process
//! pidfd, two pidfds of threads, PDEATHSIG, and kill(2) every 100 ms or every second; with so much
//! memory touched in 4 KiB pages, quiet and with every CPU busy.
//!
//! ```sh
//! cargo bench -p workspace-tests --bench death_latency -- \
//!     --sizes 0,1,4,8 --samples 15 --mechanisms sentinel,pipe --busy
//! ```
//!
//! Sizes in GiB; without memory there are ten times as many samples. A parent dies once a sample,
//! which is why this is no criterion bench: each sample has a parent, a child and an address space
//! of its own, and the mechanisms take turns. The child is forked before the memory is touched, and
//! reports the monotonic clock at the very moment it knows. The limit that all are compared with is
//! two pidfds and one poll(2): the least that the kernel takes to tell of a thread's end. Who polls
//! by kill(2) is measured in the smallest parent alone, since what takes seconds there is no
//! different in a large one; for it the dead are reaped at once.
//!
//! `--late`: the child begins to wait when the parent has its memory already, as one does that a
//! large runtime spawns; otherwise it has slept for as long as that takes, and on a virtual machine
//! its pages may have gone cold.
//!
//! `--core`: the parents abort, and dump core into a folder of their own, which comes before
//! everything else. There, `announced` and `announced-pipe` are parents whose handler of SIGABRT
//! announces the death first, to a child that follows the sentinel, or the pipe alone.
//!
//! Where the tail comes from is shown by three that differ from `sentinel` in one thing:
//! `sentinel-wait` sleeps on another thread than the one that is woken, `sentinel-fifo` has a
//! real-time policy, `sentinel-apart` is kept off the CPU on which its parent dies. The last two
//! have to be asked for.

use std::ffi::c_int;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Resource, getrlimit, pidfd_open, setrlimit};
use watchdog_pipe::{Builder, ChildSetup, Watchdog};
use workspace_tests::Folder;
use workspace_tests::clock::now;
use workspace_tests::fork::Fork;
use workspace_tests::memory::touch;
use workspace_tests::progress::Progress;
use workspace_tests::samples::{Samples, order};

/// How long everybody has been idle before the parent is killed.
const IDLE: Duration = Duration::from_millis(5);
/// Rounds of those that look again and again: each takes up to a second.
const POLLED: usize = 10;
/// `PIDFD_THREAD` of include/uapi/linux/pidfd.h (Linux 6.9).
const PIDFD_THREAD: PidfdFlags = PidfdFlags::from_bits_retain(libc::O_EXCL as u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mechanism {
    /// `on_verdict`: the thread that sleeps on the word acts itself.
    Sentinel,
    /// `wait`: that thread wakes the one that waits.
    SentinelWait,
    /// As the first, by `SCHED_FIFO`, which takes privilege.
    SentinelFifo,
    /// As the first, on the second CPU; the parent is on the first.
    SentinelApart,
    /// As the first, and the parent announces its death.
    Announced,
    Pipe,
    /// The same without a sentinel.
    AnnouncedPipe,
    Pidfd,
    ThreadPidfds,
    Pdeathsig,
    Kill100,
    Kill1000,
}

impl Mechanism {
    const ALL: [Mechanism; 12] = [
        Mechanism::Announced,
        Mechanism::AnnouncedPipe,
        Mechanism::Sentinel,
        Mechanism::SentinelWait,
        Mechanism::SentinelFifo,
        Mechanism::SentinelApart,
        Mechanism::Pipe,
        Mechanism::Pidfd,
        Mechanism::ThreadPidfds,
        Mechanism::Pdeathsig,
        Mechanism::Kill100,
        Mechanism::Kill1000,
    ];

    fn name(self) -> &'static str {
        match self {
            Mechanism::Sentinel => "sentinel",
            Mechanism::SentinelWait => "sentinel-wait",
            Mechanism::SentinelFifo => "sentinel-fifo",
            Mechanism::SentinelApart => "sentinel-apart",
            Mechanism::Announced => "announced",
            Mechanism::AnnouncedPipe => "announced-pipe",
            Mechanism::Pipe => "pipe",
            Mechanism::Pidfd => "pidfd",
            Mechanism::ThreadPidfds => "thread-pidfds",
            Mechanism::Pdeathsig => "pdeathsig",
            Mechanism::Kill100 => "kill every 100 ms",
            Mechanism::Kill1000 => "kill every 1 s",
        }
    }

    /// Whether a link for it has a sentinel.
    fn is_sentinel(self) -> bool {
        matches!(
            self,
            Mechanism::Sentinel
                | Mechanism::SentinelWait
                | Mechanism::SentinelFifo
                | Mechanism::SentinelApart
                | Mechanism::Announced
        )
    }

    fn is_announced(self) -> bool {
        matches!(self, Mechanism::Announced | Mechanism::AnnouncedPipe)
    }

    /// Whether it is measured unless others are asked for.
    fn is_usual(self) -> bool {
        !matches!(self, Mechanism::SentinelFifo | Mechanism::SentinelApart)
    }

    /// How often it looks, if it does.
    fn period(self) -> Option<Duration> {
        match self {
            Mechanism::Kill100 => Some(Duration::from_millis(100)),
            Mechanism::Kill1000 => Some(Duration::from_secs(1)),
            _ => None,
        }
    }
}

struct Options {
    gibibytes: Vec<u64>,
    mechanisms: Vec<Mechanism>,
    samples: usize,
    busy: bool,
    late: bool,
    core: bool,
}

impl Options {
    fn from_args() -> Options {
        let mut args: Vec<String> = std::env::args().skip(1).collect();
        // `cargo test` runs a bench without it: see that it works.
        let bench = args.iter().any(|arg| arg == "--bench");
        let quick = args.iter().any(|arg| arg == "--quick");
        args.retain(|arg| arg != "--bench" && arg != "--quick");
        let mut options = Options {
            gibibytes: match (bench, quick) {
                (false, _) => vec![0],
                (true, true) => vec![0, 1],
                (true, false) => vec![0, 1, 4],
            },
            mechanisms: Mechanism::ALL
                .into_iter()
                .filter(|m| m.is_usual())
                .collect(),
            samples: match (bench, quick) {
                (false, _) => 1,
                (true, true) => 15,
                (true, false) => 15,
            },
            busy: false,
            late: false,
            core: false,
        };
        let mut named = false;
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| panic!("{arg} needs a value"));
            match arg.as_str() {
                "--busy" => options.busy = true,
                "--late" => options.late = true,
                "--core" => options.core = true,
                "--samples" => options.samples = value().parse().expect("a number"),
                "--sizes" => {
                    let sizes = value();
                    let sizes = sizes.split(',').map(|size| size.parse().expect("GiB"));
                    options.gibibytes = sizes.collect();
                }
                "--mechanisms" => {
                    let names = value();
                    let of_name = |name: &str| {
                        let found = Mechanism::ALL.into_iter().find(|m| m.name() == name);
                        found.unwrap_or_else(|| panic!("no mechanism {name}"))
                    };
                    options.mechanisms = names.split(',').map(of_name).collect();
                    named = true;
                }
                _ => panic!("what is {arg}?"),
            }
        }
        if !named && !options.core {
            options.mechanisms.retain(|m| !m.is_announced());
        }
        options
    }
}

fn main() {
    let options = Options::from_args();
    // The children of a killed parent become ours, to be reaped.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).expect("subreaper");
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let _load: Vec<Fork> = (0..if options.busy { cpus } else { 0 })
        .map(|_| {
            Fork::run(|| {
                loop {
                    std::hint::spin_loop()
                }
            })
        })
        .collect();
    let mut load = String::from(if options.busy { "busy" } else { "quiet" });
    for (said, what) in [(options.late, ", late"), (options.core, ", core dumped")] {
        load.push_str(if said { what } else { "" });
    }
    let dumps = options.core.then(CoreDumps::allowed);
    let mut all = Vec::new();
    for gibibytes in options.gibibytes.iter().copied() {
        let samples = measure(&options, gibibytes, &load, dumps.as_ref());
        samples.print();
        all.push(samples);
    }
    let name = format!(
        "death_latency_{}",
        load.replace(", ", "_").replace(' ', "_")
    );
    Samples::save(&all, &name).expect("keep the samples");
}

fn measure(options: &Options, gibibytes: u64, load: &str, dumps: Option<&CoreDumps>) -> Samples {
    let what = format!("parent of {gibibytes} GiB killed, until its child knows, {load}");
    let mut samples = Samples::new(&what, "us")
        .at("GiB", gibibytes as f64)
        .compare(Mechanism::Sentinel.name(), Mechanism::ThreadPidfds.name());
    let smallest = options.gibibytes.iter().min() == Some(&gibibytes);
    // A parent without memory dies in no time, and what its deaths differ in shows in the tail.
    let rounds = options.samples * if gibibytes == 0 { 10 } else { 1 };
    let mut progress = Progress::new(what, rounds + 1);
    // The first round is not counted.
    for round in 0..=rounds {
        for turn in order(round, options.mechanisms.len()) {
            let mechanism = options.mechanisms[turn];
            if mechanism.period().is_some() && (!smallest || round > POLLED) {
                continue;
            }
            let signal = dumps.map_or(libc::SIGKILL, |_| libc::SIGABRT);
            let taken = sample(options, mechanism, gibibytes, round, signal);
            if let Some(dumps) = dumps {
                dumps.remove();
            }
            if round > 0 {
                samples.push(mechanism.name(), taken as f64 / 1e3);
            }
        }
        progress.step();
    }
    samples
}

/// A folder for core dumps, in which this process and its children are from now on, and may write
/// them.
struct CoreDumps(Folder);

impl CoreDumps {
    fn allowed() -> CoreDumps {
        let folder = Folder::new();
        std::env::set_current_dir(folder.path()).expect("chdir");
        let mut limit = getrlimit(Resource::Core);
        limit.current = limit.maximum;
        setrlimit(Resource::Core, limit).expect("RLIMIT_CORE");
        let pattern = std::fs::read_to_string("/proc/sys/kernel/core_pattern");
        println!("core_pattern: {}", pattern.unwrap_or_default().trim());
        CoreDumps(folder)
    }

    fn remove(&self) {
        for entry in std::fs::read_dir(self.0.path())
            .expect("the folder")
            .flatten()
        {
            std::fs::remove_file(entry.path()).expect("remove a dump");
        }
    }
}

/// One parent, one death: nanoseconds from before the signal to the child's report.
fn sample(
    options: &Options,
    mechanism: Mechanism,
    gibibytes: u64,
    round: usize,
    signal: c_int,
) -> u64 {
    let (ready, is_ready) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
    let (report, reports) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
    let mut theirs = Some((is_ready, reports));
    let mut parent = Fork::run(|| {
        let (is_ready, reports) = theirs.take().expect("the copies");
        live(mechanism, gibibytes, options.late, is_ready, reports);
    });
    drop(theirs);
    let [mut ready, mut report] = [ready, report].map(std::fs::File::from);
    rustix::io::ioctl_fionbio(&report, true).expect("FIONBIO");
    // The parent has its memory, the child is about to sleep.
    ready.read_exact(&mut [0; 2]).expect("both are ready");
    // A death that falls on no particular moment of the period: multiples of the golden ratio
    // spread evenly.
    let phase = (round as f64 * 0.618_034).fract();
    std::thread::sleep(IDLE + mechanism.period().unwrap_or_default().mul_f64(phase));
    // What is measured begins with the signal, not with pages of our own that nobody has touched
    // since the memory was filled: the clock is looked at, the pipe read and kill(2) called once
    // before.
    now();
    let nothing = rustix::io::read(&report, &mut [0; 8]);
    assert_eq!(
        nothing,
        Err(rustix::io::Errno::AGAIN),
        "a report before the death"
    );
    rustix::io::ioctl_fionbio(&report, false).expect("FIONBIO");
    parent.signal(0);
    let start = now();
    parent.signal(signal);
    if mechanism.period().is_some() {
        // kill(2) succeeds for a zombie.
        parent.wait();
    }
    let mut told = [0; 8];
    report.read_exact(&mut told).expect("a report");
    if mechanism.period().is_none() {
        parent.wait();
    }
    reap_orphans();
    u64::from_ne_bytes(told).saturating_sub(start)
}

/// The children of parents that were killed; the busy loops are ours and live.
fn reap_orphans() {
    // A child ends right after its report.
    workspace_tests::until("orphan ends", || {
        // SAFETY: no status is asked for; what is reaped here is nobody else's.
        (unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0).then_some(())
    });
}

/// The parent: a child that waits for its death, and then its memory. `late`: the child waits when
/// that is there.
fn live(mechanism: Mechanism, gibibytes: u64, late: bool, is_ready: OwnedFd, reports: OwnedFd) {
    if mechanism == Mechanism::SentinelApart {
        stay_on(0);
    }
    let (keepalive, mut setup) = Builder::new()
        .sentinel(mechanism.is_sentinel())
        .channel()
        .expect("channel");
    if mechanism == Mechanism::ThreadPidfds {
        std::thread::spawn(|| {
            loop {
                std::thread::park()
            }
        });
    }
    if mechanism.is_announced() {
        // SAFETY: the handler is async-signal-safe.
        unsafe { libc::signal(libc::SIGABRT, announce as *const () as libc::sighandler_t) };
    }
    let threads = threads();
    let parent = rustix::process::getpid();
    let (go, goes) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
    // SAFETY: the copy has one thread, and the C library's fork has put its locks in order.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", io::Error::last_os_error()),
        0 => {
            drop((keepalive, goes));
            until_closed(&go);
            wait(mechanism, parent, &threads, &mut setup, is_ready, reports);
            // SAFETY: ends this copy at once.
            unsafe { libc::_exit(0) }
        }
        _ => {}
    }
    drop((setup, reports, go));
    // Closed, which tells the child to begin: now, or when the memory is there.
    let goes = late.then_some(goes);
    let memory = touch(gibibytes << 30);
    drop(goes);
    std::fs::File::from(is_ready)
        .write_all(b".")
        .expect("ready");
    // Killed here.
    loop {
        std::thread::park();
        std::hint::black_box((&memory, &keepalive));
    }
}

extern "C" fn announce(signal: c_int) {
    watchdog_pipe::announce_death();
    // SAFETY: both are async-signal-safe. The signal comes once this handler has returned.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

fn threads() -> Vec<Pid> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("tasks");
    let number = |task: std::fs::DirEntry| task.file_name().to_str()?.parse().ok();
    let tasks = tasks.filter_map(|task| Pid::from_raw(number(task.ok()?)?));
    tasks.collect()
}

/// The child: ready, then asleep, then the report.
fn wait(
    mechanism: Mechanism,
    parent: Pid,
    threads: &[Pid],
    setup: &mut ChildSetup,
    is_ready: OwnedFd,
    reports: OwnedFd,
) {
    let ready = move || {
        std::fs::File::from(is_ready)
            .write_all(b".")
            .expect("ready")
    };
    let mut reports = std::fs::File::from(reports);
    // The clock's page is mapped in this process by its first look alone.
    now();
    let mut report = move || {
        let told = now();
        reports.write_all(&told.to_ne_bytes()).expect("report");
    };
    match mechanism {
        Mechanism::Sentinel
        | Mechanism::SentinelFifo
        | Mechanism::SentinelApart
        | Mechanism::Announced
        | Mechanism::AnnouncedPipe
        | Mechanism::Pipe => {
            // The thread that `on_verdict` starts inherits both.
            match mechanism {
                Mechanism::SentinelFifo => real_time(),
                Mechanism::SentinelApart => stay_on(1),
                _ => {}
            }
            let (done, is_done) = pipe_with(PipeFlags::CLOEXEC).expect("pipe");
            let act = move |_| {
                report();
                drop(is_done);
            };
            let _monitor = adopt(setup).on_verdict(act).expect("on_verdict");
            ready();
            until_readable(&[done]);
        }
        Mechanism::SentinelWait => {
            let mut watchdog = adopt(setup);
            ready();
            watchdog.wait().expect("wait");
            report();
        }
        Mechanism::Pidfd => {
            let pidfd = pidfd_open(parent, PidfdFlags::empty()).expect("pidfd_open");
            ready();
            until_readable(&[pidfd]);
            report();
        }
        Mechanism::Kill100 | Mechanism::Kill1000 => {
            let period = mechanism.period().unwrap_or_default();
            ready();
            while rustix::process::test_kill_process(parent).is_ok() {
                std::thread::sleep(period);
            }
            report();
        }
        Mechanism::ThreadPidfds => {
            let open = |thread: &Pid| pidfd_open(*thread, PIDFD_THREAD).expect("PIDFD_THREAD");
            let pidfds: Vec<OwnedFd> = threads.iter().map(open).collect();
            ready();
            until_readable(&pidfds);
            report();
        }
        Mechanism::Pdeathsig => {
            // SAFETY: the set is initialised before it is used; prctl(2) of this kind has no memory
            // effect.
            unsafe {
                let mut set = std::mem::zeroed();
                libc::sigemptyset(&raw mut set);
                libc::sigaddset(&raw mut set, libc::SIGUSR1);
                libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGUSR1);
                ready();
                libc::sigwaitinfo(&raw const set, std::ptr::null_mut());
            }
            report();
        }
    }
}

/// The calling thread, and what it starts, by `SCHED_FIFO` from now on.
fn real_time() {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: reads one structure.
    let set = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const lowest) };
    assert_eq!(set, 0, "SCHED_FIFO: {}", io::Error::last_os_error());
}

/// The calling thread, and what it starts, on this CPU alone.
fn stay_on(cpu: usize) {
    // SAFETY: the set is plain data, initialised before it is used.
    let set = unsafe {
        let mut cpus: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut cpus);
        libc::sched_setaffinity(0, size_of_val(&cpus), &raw const cpus)
    };
    assert_eq!(set, 0, "CPU {cpu}: {}", io::Error::last_os_error());
}

/// By way of the environment, on the numbers that a copy made by fork has anyway.
fn adopt(setup: &mut ChildSetup) -> Watchdog {
    let numbers: Vec<RawFd> = setup.fds().map(|(fd, _)| fd.as_raw_fd()).collect();
    setup.renumber_each(numbers);
    let (name, value) = setup.env();
    // SAFETY: this copy has one thread.
    unsafe { std::env::set_var(name, value) };
    // SAFETY: the setup, which owns the same numbers, is never dropped: the process ends by _exit.
    let watchdog = unsafe { Watchdog::from_env() }.expect("adopt");
    watchdog.expect("a variable")
}

fn until_closed(pipe: &OwnedFd) {
    let end = rustix::io::retry_on_intr(|| rustix::io::read(pipe, &mut [0; 1]));
    assert_eq!(end, Ok(0), "nothing is ever written to it");
}

fn until_readable(fds: &[OwnedFd]) {
    let mut fds: Vec<PollFd<'_>> = fds
        .iter()
        .map(|fd| PollFd::new(fd, PollFlags::IN))
        .collect();
    rustix::io::retry_on_intr(|| poll(&mut fds, None)).expect("poll");
}
