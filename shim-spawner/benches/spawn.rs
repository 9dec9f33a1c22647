//! What a spawn costs on top of std's: `/bin/true`, from spawn until it is reaped.
//!
//! - `std Command`: by `posix_spawn`, which is what std uses without a closure.
//! - `std Command with a closure`: by `fork`.
//! - `ShimSpawner detached`, `attached`, `with a configuration`: what each of them adds.
//! - `ShimSpawner attached, by fork`: by the other engine.
#![allow(missing_docs, clippy::expect_used, unsafe_code)] // a bench has no caller to tell

use std::hint::black_box;
use std::os::unix::process::CommandExt;
use std::process::Command;

use criterion::{Criterion, criterion_group, criterion_main};
use shim_spawner::{Engine, ShimSpawner};

const PROGRAM: &str = "/bin/true";

fn run(spawner: &mut ShimSpawner) {
    let shim = spawner.spawn().expect("spawn");
    let exit = shim.child.process().wait().expect("poll");
    assert!(exit.status.expect("own child").success());
}

fn spawn(c: &mut Criterion) {
    let mut group = c.benchmark_group("spawn and wait");
    group.bench_function("std Command", |b| {
        let mut command = Command::new(PROGRAM);
        b.iter(|| black_box(command.status().expect("spawn")));
    });
    group.bench_function("std Command with a closure", |b| {
        let mut command = Command::new(PROGRAM);
        // SAFETY: does nothing.
        unsafe { command.pre_exec(|| Ok(())) };
        b.iter(|| black_box(command.status().expect("spawn")));
    });
    group.bench_function("ShimSpawner detached", |b| {
        let mut spawner = ShimSpawner::new(PROGRAM);
        spawner.detached(true);
        b.iter(|| run(&mut spawner));
    });
    group.bench_function("ShimSpawner attached", |b| {
        let mut spawner = ShimSpawner::new(PROGRAM);
        b.iter(|| run(&mut spawner));
    });
    group.bench_function("ShimSpawner attached, by fork", |b| {
        let mut spawner = ShimSpawner::new(PROGRAM);
        spawner.engine(Engine::Fork);
        b.iter(|| run(&mut spawner));
    });
    group.bench_function("ShimSpawner attached with a configuration", |b| {
        let mut spawner = ShimSpawner::new(PROGRAM);
        spawner.config(vec![7; 64 * 1024]);
        b.iter(|| run(&mut spawner));
    });
    group.finish();
}

criterion_group!(benches, spawn);
criterion_main!(benches);
