//! `cargo xtask asan`: the watcher's tests under the address sanitizer.

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::shell;

/// The sanitizer is for nightly compilers; `RUSTC_BOOTSTRAP` makes a stable one take the flag. The
/// standard library is not instrumented, and need not be: what our code and the heap do is seen.
/// Data races are loom's: the sanitizer for threads needs an instrumented standard library, which
/// comes with no stable toolchain.
pub(crate) fn run() -> Result<()> {
    let shell = shell::shell()?;
    let target = host(&shell)?;
    let what = ["--lib", "--test", "process_*", "--test", "watcher_*"];
    let skipped = [
        // A fork copies the sanitizer's own memory: ten thousand take longer than any test may.
        "--skip=ten_thousand_children",
        // Its children live with an empty /proc, where the sanitizer reads the options that are set
        // below.
        "--skip=status_of_a_zombie_that_is_reaped_while_it_is_looked_at",
    ];
    let tests = cmd!(
        shell,
        "cargo test --target {target} --target-dir target/asan -p pidfd-watcher -p workspace-tests
         {what...} --no-fail-fast -- {skipped...}"
    );
    let flags = "-Zsanitizer=address -Cforce-frame-pointers=yes";
    // Leaks are counted by the tests themselves, as descriptors and children; the leak checker
    // stops the process with ptrace, which the fixtures under a filter or a tracer of their own do
    // not bear.
    let options = "detect_leaks=0:detect_stack_use_after_return=1";
    shell::run(
        tests
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTFLAGS", flags)
            .env("ASAN_OPTIONS", options),
    )
}

/// The sanitizer must not reach build scripts and macros: naming the target keeps the flags from
/// them.
fn host(shell: &Shell) -> Result<String> {
    let text = cmd!(shell, "rustc -vV").quiet().read()?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}
