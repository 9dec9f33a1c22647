//! What a spawn costs with and without a plan, and what cleaning costs when much is open.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use fd_preserve::{OtherFds, PreserveFds};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn run(command: &mut Command) {
    assert!(
        command.status().is_ok_and(|status| status.success()),
        "{command:?}"
    );
}

/// `true` with `count` descriptors from 100 up.
fn planned(null: impl AsFd, count: i32, others: OtherFds) -> Result<Command> {
    let mut command = Command::new("/bin/true");
    let mut fds = PreserveFds::new();
    fds.other_fds(others);
    for child_fd in 100..100 + count {
        fds.map_borrowed_fd(&null, child_fd)?;
    }
    fds.apply(&mut command)?;
    Ok(command)
}

/// Fork, exec and wait of `true`; what std does alone, and what it does with a plan.
fn spawn(criterion: &mut Criterion) -> Result {
    let null = File::open("/dev/null")?;
    let mut group = criterion.benchmark_group("spawn");
    group.bench_function("std, posix_spawn", |bencher| {
        bencher.iter(|| run(&mut Command::new("/bin/true")));
    });
    group.bench_function("std, fork", |bencher| {
        let mut command = Command::new("/bin/true");
        // SAFETY: does nothing; it makes std fork.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(|| Ok(()));
        }
        bencher.iter(|| run(&mut command));
    });
    for count in [0, 1, 16] {
        let mut command = planned(&null, count, OtherFds::CloseOnExec)?;
        group.bench_function(BenchmarkId::new("plan, spawn only", count), |bencher| {
            bencher.iter(|| run(&mut command));
        });
        drop(command);
        group.bench_function(
            BenchmarkId::new("plan, apply and spawn", count),
            |bencher| {
                bencher.iter(|| {
                    planned(&null, count, OtherFds::CloseOnExec)
                        .map(|mut command| run(&mut command))
                });
            },
        );
    }
    group.finish();
    Ok(())
}

/// The parent's half alone.
fn apply(criterion: &mut Criterion) -> Result {
    let null = File::open("/dev/null")?;
    let mut group = criterion.benchmark_group("apply and drop");
    for count in [0, 1, 16, 256] {
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| planned(&null, count, OtherFds::CloseOnExec).map(drop));
        });
    }
    group.finish();
    Ok(())
}

/// Cleaning when many descriptors are open. The fork copies the table and the exec closes it: both
/// columns pay for that, the difference is ours.
fn cleaning(criterion: &mut Criterion) -> Result {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    )?;
    let null = File::open("/dev/null")?;
    let mut group = criterion.benchmark_group("cleaning");
    let mut open: Vec<OwnedFd> = Vec::new();
    for count in [0, 100, 1_000, 10_000] {
        while open.len() < count {
            open.push(null.try_clone()?.into());
        }
        for (name, others) in [
            ("close on exec", OtherFds::CloseOnExec),
            ("inherit", OtherFds::Inherit),
        ] {
            let mut command = planned(&null, 0, others)?;
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| run(&mut command));
            });
        }
    }
    group.finish();
    Ok(())
}

fn all(criterion: &mut Criterion) {
    for (name, bench) in [
        ("spawn", spawn as fn(&mut Criterion) -> Result),
        ("apply", apply),
        ("cleaning", cleaning),
    ] {
        if let Err(error) = bench(criterion) {
            eprintln!("{name}: skipped: {error}");
        }
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
