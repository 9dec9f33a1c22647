//! `cargo xtask`: the workspace's own commands, one module a verb.

mod asan;
mod bench;
mod ci;
mod demo;
mod kernels;
mod lint;
mod long;
mod loom;
mod man;
mod peers;
mod shell;
mod stress;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The workspace's own commands.
///
/// Exit status: 0 it passed, 2 the command line makes no sense, else it failed: 1, or what cargo or
/// the test runner ended with.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask", max_term_width = 100)]
struct Xtask {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Test(test::Args),
    Demo(demo::Args),
    Bench(bench::Args),
    Peers(peers::Args),
    Kernels(kernels::Args),
    /// Format, clippy, documentation, and the shape of the dependency tree; warnings are errors
    Lint,
    Loom(loom::Args),
    /// Write the manual page and the completions of watchdog-shim, from the table of its options
    Man,
    /// The watcher's tests under the address sanitizer, where this toolchain can
    Asan,
    Ci(ci::Args),
    Stress(stress::Args),
}

fn main() -> ExitCode {
    let done = match Xtask::parse().verb {
        Verb::Test(args) => args.run(),
        Verb::Demo(args) => args.run(),
        Verb::Bench(args) => args.run(),
        Verb::Peers(args) => args.run(),
        Verb::Kernels(args) => args.run(),
        Verb::Lint => lint::run(),
        Verb::Loom(args) => args.run(),
        Verb::Man => man::run(),
        Verb::Asan => asan::run(),
        Verb::Ci(args) => args.run(),
        Verb::Stress(args) => args.run(),
    };
    exit_code(done)
}

fn exit_code(done: Result<()>) -> ExitCode {
    let Err(error) = done else {
        return ExitCode::SUCCESS;
    };
    eprintln!("xtask: {error:#}");
    // Of whoever has failed.
    let code = error.downcast_ref::<shell::Failed>();
    code.map_or(ExitCode::FAILURE, shell::Failed::exit_code)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_a_sound_one() {
        Xtask::command().debug_assert();
    }
}
