//! Resolving a plan: pure, and paid once a command.

use std::hint::black_box;
use std::os::fd::RawFd;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use fd_preserve::FdPlan;

fn resolve(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("resolve");
    for count in [1, 8, 64, 1024] {
        let moved: Vec<(RawFd, RawFd)> = (0..count).map(|n| (2000 + n, 3 + n)).collect();
        // The worst case: every source lies on another's number.
        let cycle: Vec<(RawFd, RawFd)> = (0..count).map(|n| (3 + n, 3 + (n + 1) % count)).collect();
        for (shape, pairs) in [("moved", moved), ("cycle", cycle)] {
            group.bench_with_input(BenchmarkId::new(shape, count), &pairs, |bencher, pairs| {
                bencher.iter(|| {
                    let plan = FdPlan::resolve(black_box(pairs).iter().copied());
                    plan.map(|plan| plan.steps().count())
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, resolve);
criterion_main!(benches);
