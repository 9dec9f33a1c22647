//! What a link costs its parent, beside the bare system calls, and what adoption costs the child.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run says so")]

use std::hint::black_box;
use std::os::fd::{AsRawFd, OwnedFd};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use rustix::pipe::{PipeFlags, pipe_with};
use watchdog_pipe::{Watchdog, channel};

fn make_and_drop(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("make and drop");
    group.bench_function("pipe2 and two closes", |bencher| {
        bencher.iter(|| black_box(pipe_with(PipeFlags::CLOEXEC).unwrap()));
    });
    group.bench_function("channel", |bencher| {
        bencher.iter(|| black_box(channel().unwrap()));
    });
    group.finish();
}

/// With some and with many descriptors open: each is looked at, for a writer of the pipe.
fn adopt(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("adopt");
    for open in [0, 1_000] {
        let held: Vec<OwnedFd> = (0..open)
            .map(|_| std::fs::File::open("/dev/null").unwrap().into())
            .collect();
        group.bench_function(format!("{open} descriptors open"), |bencher| {
            bencher.iter_batched(
                // The write end is gone: this process may not hold it.
                || pipe_with(PipeFlags::CLOEXEC).unwrap().0,
                |read| Watchdog::from_fd(read).unwrap(),
                BatchSize::PerIteration,
            );
        });
        assert!(held.iter().all(|fd| fd.as_raw_fd() > 2));
    }
    group.finish();
}

criterion_group!(benches, make_and_drop, adopt);
criterion_main!(benches);
