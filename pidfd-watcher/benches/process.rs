//! What the handle costs on top of the system calls below it.
//!
//! - `open`: `Process::open` and drop, against `pidfd_open` and `close`.
//! - `kill to wait`: from SIGKILL of a child until the waiter has the answer, with the status for
//!   `Process::wait`, without it for a bare `poll`. The child is made and reaped off the clock.
#![allow(missing_docs, clippy::expect_used)] // a bench has no caller to tell

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use pidfd_watcher::{Pid, Process, Signal};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{PidfdFlags, getpid, pidfd_open, pidfd_send_signal};

fn sleeper() -> Child {
    Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("spawn cat")
}

fn open(c: &mut Criterion) {
    let own = getpid();
    let mut group = c.benchmark_group("open");
    group.bench_function("Process::open", |b| {
        b.iter(|| Process::open(own).expect("own process"));
    });
    group.bench_function("bare pidfd_open", |b| {
        b.iter(|| pidfd_open(own, PidfdFlags::empty()).expect("own process"));
    });
    group.finish();
}

/// Sums up `once` over as many children as criterion asks for.
fn per_child(iterations: u64, mut once: impl FnMut(&mut Child) -> Duration) -> Duration {
    (0..iterations)
        .map(|_| {
            let mut child = sleeper();
            let took = once(&mut child);
            child.wait().expect("reap");
            took
        })
        .sum()
}

fn kill_to_wait(c: &mut Criterion) {
    let mut group = c.benchmark_group("kill to wait");
    group.sample_size(50);
    group.bench_function(BenchmarkId::from_parameter("Process::wait"), |b| {
        b.iter_custom(|iterations| {
            per_child(iterations, |child| {
                let process = Process::from_child(child).expect("own child");
                let start = Instant::now();
                process.send_signal(Signal::KILL).expect("own child");
                let exit = process.wait().expect("poll");
                let took = start.elapsed();
                assert!(exit.status.is_some());
                took
            })
        });
    });
    group.bench_function(BenchmarkId::from_parameter("bare poll"), |b| {
        b.iter_custom(|iterations| {
            per_child(iterations, |child| {
                let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).expect("open");
                let start = Instant::now();
                pidfd_send_signal(&pidfd, Signal::KILL).expect("own child");
                poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None).expect("poll");
                start.elapsed()
            })
        });
    });
    group.finish();
}

criterion_group!(benches, open, kill_to_wait);
criterion_main!(benches);
