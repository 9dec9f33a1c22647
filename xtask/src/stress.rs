//! `cargo xtask stress`: the tests many times in a row on a loaded machine.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use crate::{Outcome, test, usage};

const ROUNDS: u32 = 20;
const BUSY_LOOPS: usize = 2;

pub(crate) fn run(args: &[OsString]) -> Outcome {
    let (rounds, args) = match args {
        [first, rest @ ..]
            if first
                .to_str()
                .is_some_and(|word| word.parse::<u32>().is_ok()) =>
        {
            (first.to_string_lossy().parse()?, rest)
        }
        _ => (ROUNDS, args),
    };
    if rounds == 0 {
        return Err(usage("stress: 0 rounds would prove nothing"));
    }
    let tests = test::Request::parse(args)?;
    // Built before the load, which is there for the tests and not for the compiler.
    tests.build()?;

    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..BUSY_LOOPS {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let outcome = repeat(rounds, &tests);
        done.store(true, Ordering::Relaxed);
        outcome
    })
}

fn repeat(rounds: u32, tests: &test::Request) -> Outcome {
    let started = Instant::now();
    for round in 1..=rounds {
        eprintln!("stress: round {round} of {rounds}");
        let code = tests.run_units()?;
        if code != ExitCode::SUCCESS {
            eprintln!(
                "stress: round {round} FAILED after {} that passed ({:.0?})",
                round - 1,
                started.elapsed()
            );
            return Ok(code);
        }
    }
    eprintln!(
        "stress: {rounds} of {rounds} rounds passed ({:.0?})",
        started.elapsed()
    );
    Ok(ExitCode::SUCCESS)
}
