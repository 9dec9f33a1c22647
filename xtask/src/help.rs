//! `cargo xtask help`.

const TEXT: &str = "\
The workspace's own commands.

Usage: cargo xtask COMMAND [ARGUMENTS]

  test [-p PACKAGE] [FILTER...] [-- ARGS]
           Build and pass every test, then every doc test. Runs them with cargo-nextest where it
           is installed, with cargo test where not. A test runs if its name contains one of the
           FILTERs; ARGS are the test harness's own (--exact, --skip NAME, --nocapture,
           --test-threads N) and mean the same under both runners.
  demo [--attached N] [--timeout SECONDS] [--json] [--program COMMAND...]
           The main job on real programs: kill a runtime, and watch what its shims do.
           `cargo xtask demo --help` says more.
  bench [--quick] [--check | --redraw] [--baseline]
           The comparisons across crates, with their peers and the bare kernel, on an idle machine:
           prints one table and writes docs/bench (a page, plots). --quick takes few rounds;
           --redraw writes the same from the samples of the last run, without measuring;
           --check compares ratios with docs/bench/baseline.json instead, and fails on a
           regression; --baseline writes that file.
  bench -p PACKAGE | FILTER | --no-run [ARGS]
           `cargo bench` of a package, of what the name fits, or compiled only; ARGS are
           criterion's own.
  peers [--rounds N]
           The hostile tree under other people's tools and under ours: what is left when the
           runtime was killed, and how soon. Writes docs/peers.md. Takes root.
  lint     Format, clippy, documentation, and the shape of the dependency tree; warnings are errors.
  loom [FILTER]
           Every order in which threads can meet in the watcher's registry.
  man      Write the manual page and the completions of watchdog-shim, from the table of its options.
  asan     The watcher's tests under the address sanitizer, where this toolchain can.
  ci       lint, bench --no-run, demo, loom, test: what has to pass before a merge.
  stress [N] [FILTER]
           The tests N times in a row (default 20) while two busy loops load the cores.
           Stops at the first failure and says how many rounds passed.
  help     This text.

Exit status: 0 it passed, 2 the command line makes no sense, 1 or the runner's own: it failed.
";

pub(crate) fn print() {
    print!("{TEXT}");
}
