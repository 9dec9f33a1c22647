//! `cargo xtask asan`: the watcher's tests under the address sanitizer.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::{Outcome, cargo, no_arguments};

/// The sanitizer is for nightly compilers; `RUSTC_BOOTSTRAP` makes a stable one take the flag. The standard library is
/// not instrumented, and need not be: what our code and the heap do is seen. Data races are loom's: the sanitizer for
/// threads needs an instrumented standard library, which comes with no stable toolchain.
pub(crate) fn run(args: &[OsString]) -> Outcome {
    no_arguments("asan", args)?;
    let target = host()?;
    let mut command = cargo::cargo([
        "test",
        "--target",
        &target,
        "--target-dir",
        "target/asan",
        "-p",
        "pidfd-watcher",
        "-p",
        "workspace-tests",
        "--lib",
        "--test",
        "process_*",
        "--test",
        "watcher_*",
        "--no-fail-fast",
        "--",
        // A fork copies the sanitizer's own memory: ten thousand take longer than any test may.
        "--skip",
        "ten_thousand_children",
        // Its children live with an empty /proc, where the sanitizer reads the options that are set below.
        "--skip",
        "status_of_a_zombie_that_is_reaped_while_it_is_looked_at",
    ]);
    command
        .env("RUSTC_BOOTSTRAP", "1")
        .env(
            "RUSTFLAGS",
            "-Zsanitizer=address -Cforce-frame-pointers=yes",
        )
        // Leaks are counted by the tests themselves, as descriptors and children; the leak checker stops the process
        // with ptrace, which the fixtures under a filter or a tracer of their own do not bear.
        .env(
            "ASAN_OPTIONS",
            "detect_leaks=0:detect_stack_use_after_return=1",
        );
    cargo::check(&mut command)?;
    Ok(ExitCode::SUCCESS)
}

/// The sanitizer must not reach build scripts and macros: naming the target keeps the flags from them.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .arg("-vV")
        .output()
        .context("run rustc -vV")?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().find_map(|line| line.strip_prefix("host: ")) {
        Some(host) => Ok(host.to_owned()),
        None => bail!("rustc -vV names no host"),
    }
}
