//! Four ways to hold many children. Each spawns, holds, kills and reaps the same number of the same
//! program.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pidfd_watcher::{Pid, Process, Signal, Watcher};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::process::{
    PidfdFlags, Resource, Rlimit, WaitId, WaitIdOptions, getrlimit, kill_process_group, pidfd_open,
    setrlimit, waitid,
};
use rustix::time::{ClockId, clock_gettime};

use workspace_tests::sleeper::sleeper;

use crate::Figures;
use crate::user_time::UserTime;

pub const BARE: &str = "bare epoll loop";
pub const NAMES: [&str; 4] = [BARE, "pidfd-watcher", "tokio::process", "async-process"];

/// Every contender has one descriptor a child, and a few besides.
const OTHERS: usize = 200;

/// Raises the limits as far as may be; how many children they allow then, and why no more than
/// that.
pub fn raise_limits(children: usize) -> Result<(usize, Option<String>)> {
    let needed = (children + OTHERS) as u64;
    let old = getrlimit(Resource::Nofile);
    let raised = |maximum: Option<u64>| Rlimit {
        current: Some(maximum.map_or(needed, |maximum| maximum.min(needed))),
        maximum,
    };
    let above = old.maximum.map(|maximum| maximum.max(needed));
    if setrlimit(Resource::Nofile, raised(above)).is_err() {
        setrlimit(Resource::Nofile, raised(old.maximum)).context("raise the soft limit")?;
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let pids: u64 = std::fs::read_to_string("/proc/sys/kernel/pid_max")?
        .trim()
        .parse()?;
    let allowed = usize::try_from(files.min(pids))?.saturating_sub(OTHERS);
    Ok(if allowed >= children {
        (children, None)
    } else {
        let reason = format!("{files} open files and {pids} processes are the limits here");
        (allowed, Some(reason))
    })
}

pub fn run(name: &str, children: usize, sampled: bool) -> Result<Figures> {
    // Before there is any other thread.
    let clock = sampled
        .then(UserTime::new)
        .transpose()
        .context("sample the user time")?;
    match name {
        BARE => bare(children, clock),
        "pidfd-watcher" => ours(children, clock),
        "tokio::process" => tokio_process(children, clock),
        "async-process" => async_process(children, clock),
        _ => anyhow::bail!("no contender named {name}"),
    }
}

/// Kills the group when dropped, so that a contender that fails leaves nothing.
struct Group(Option<Pid>);

impl Group {
    fn joined(&mut self, pid: Pid) {
        self.0.get_or_insert(pid);
    }

    fn kill(&self) -> Result<()> {
        Ok(kill_process_group(
            self.0.context("no child")?,
            Signal::KILL,
        )?)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// What has passed since everybody had come to rest.
struct Meter {
    children: usize,
    memory: f64,
    cpu: f64,
    clock: Option<UserTime>,
    start: Instant,
}

impl Meter {
    fn start(children: usize, memory_before: f64, mut clock: Option<UserTime>) -> Result<Meter> {
        let memory = resident() - memory_before;
        clock.as_mut().map(UserTime::start).transpose()?;
        Ok(Meter {
            children,
            memory,
            clock,
            cpu: cpu_time(),
            start: Instant::now(),
        })
    }

    fn stop(self) -> Result<Figures> {
        let wall = self.start.elapsed().as_secs_f64();
        let cpu = cpu_time() - self.cpu;
        let user = self.clock.map(UserTime::stop).transpose()?;
        let children = self.children as f64;
        let each = |seconds: f64| seconds * 1e6 / children;
        Ok(Figures {
            wall: each(wall),
            cpu: each(cpu),
            user: user.map(each),
            memory: self.memory / children,
        })
    }
}

/// All children have executed their program, and sleep.
const REST: Duration = Duration::from_millis(300);

/// User and system time of this process so far, in seconds: their sum is exact.
fn cpu_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Resident anonymous memory of this process, in bytes.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok())
        .unwrap_or(f64::NAN)
        * 1024.0
}

/// The limit: what the kernel takes, driven by a loop that does nothing else.
fn bare(children: usize, clock: Option<UserTime>) -> Result<Figures> {
    let mut group = Group(None);
    let before = resident();
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut pidfds: Vec<Option<OwnedFd>> = Vec::with_capacity(children);
    for token in 0..children {
        let child = sleeper(group.0).spawn()?;
        let pid = Pid::from_child(&child);
        group.joined(pid);
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        let edge = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &pidfd, EventData::new_u64(token as u64), edge)?;
        pidfds.push(Some(pidfd));
    }
    std::thread::sleep(REST);
    let meter = Meter::start(children, before, clock)?;
    group.kill()?;
    let mut events = Vec::with_capacity(256);
    let mut told = 0;
    while told < children {
        events.clear();
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let place = usize::try_from(event.data.u64())?;
            let pidfd = pidfds[place].take().context("told twice")?;
            let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
            ensure!(
                status.is_some_and(|status| status.killed()),
                "a wrong status"
            );
            epoll::delete(&epoll, &pidfd)?;
            told += 1;
        }
    }
    meter.stop()
}

fn ours(children: usize, clock: Option<UserTime>) -> Result<Figures> {
    let mut group = Group(None);
    let watcher = Watcher::new()?;
    let before = resident();
    let (tell, told) = mpsc::channel();
    let left = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(children));
    for _ in 0..children {
        let mut child = sleeper(group.0).spawn()?;
        let process = Process::from_child(&mut child)?;
        group.joined(process.pid());
        let (tell, left) = (tell.clone(), std::sync::Arc::clone(&left));
        watcher.watch_and_reap(process, move |exit| {
            assert!(exit.status.is_some_and(|status| !status.success()));
            if left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) == 1 {
                let _ = tell.send(());
            }
        })?;
    }
    std::thread::sleep(REST);
    let meter = Meter::start(children, before, clock)?;
    group.kill()?;
    told.recv()?;
    meter.stop()
}

/// As its documentation has it: a task a child, which awaits `wait()`.
fn tokio_process(children: usize, clock: Option<UserTime>) -> Result<Figures> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut group = Group(None);
        let before = resident();
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..children {
            let mut child = tokio::process::Command::from(sleeper(group.0)).spawn()?;
            let pid = child.id().context("alive")?.cast_signed();
            group.joined(Pid::from_raw(pid).context("a pid")?);
            tasks.spawn(async move { child.wait().await });
        }
        // Meanwhile every task is polled, and waits.
        tokio::time::sleep(REST).await;
        let meter = Meter::start(children, before, clock)?;
        group.kill()?;
        while let Some(status) = tasks.join_next().await {
            ensure!(!status??.success(), "a wrong status");
        }
        meter.stop()
    })
}

/// As its documentation has it: a task a child, which awaits `status()`.
fn async_process(children: usize, clock: Option<UserTime>) -> Result<Figures> {
    let executor = smol::LocalExecutor::new();
    smol::block_on(executor.run(async {
        let mut group = Group(None);
        let before = resident();
        let mut tasks = Vec::with_capacity(children);
        for _ in 0..children {
            let mut child = smol::process::Command::from(sleeper(group.0)).spawn()?;
            let pid = child.id().cast_signed();
            group.joined(Pid::from_raw(pid).context("a pid")?);
            tasks.push(executor.spawn(async move { child.status().await }));
        }
        smol::Timer::after(REST).await;
        let meter = Meter::start(children, before, clock)?;
        group.kill()?;
        for task in tasks {
            let status: io::Result<_> = task.await;
            ensure!(!status?.success(), "a wrong status");
        }
        meter.stop()
    }))
}
