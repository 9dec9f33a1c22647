//! `cargo xtask`: the workspace's own commands, one module a verb.

mod asan;
mod bench;
mod cargo;
mod ci;
mod demo;
mod help;
mod lint;
mod loom;
mod man;
mod peers;
mod stress;
mod test;

use std::ffi::OsString;
use std::process::ExitCode;

/// What a verb says when it is done: an exit code that is honest, or an error to print.
type Outcome = anyhow::Result<ExitCode>;

/// The command line makes no sense: told apart from a failure of what was asked for.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let verb = args.next().unwrap_or_else(|| OsString::from("help"));
    let args: Vec<OsString> = args.collect();
    let help = |arg: &OsString| arg == "--help" || arg == "-h";
    let outcome = match verb.to_str() {
        // The demo has a text of its own.
        Some("asan" | "bench" | "ci" | "lint" | "loom" | "man" | "peers" | "stress" | "test")
            if args.first().is_some_and(help) =>
        {
            help::print();
            Ok(ExitCode::SUCCESS)
        }
        Some("asan") => asan::run(&args),
        Some("bench") => bench::run(&args),
        Some("ci") => ci::run(&args),
        Some("demo") => demo::run(&args),
        Some("lint") => lint::run(&args),
        Some("loom") => loom::run(&args),
        Some("man") => man::run(&args),
        Some("peers") => peers::run(&args),
        Some("stress") => stress::run(&args),
        Some("test") => test::run(&args),
        Some("help" | "--help" | "-h") => {
            help::print();
            Ok(ExitCode::SUCCESS)
        }
        _ => Err(usage(format!("no such command: {}", verb.display()))),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        match error.downcast_ref::<UsageError>() {
            Some(_) => {
                eprintln!("       `cargo xtask help` lists what there is");
                ExitCode::from(USAGE)
            }
            None => ExitCode::FAILURE,
        }
    })
}

/// A command line that makes no sense.
#[derive(Debug)]
struct UsageError(String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

fn usage(message: impl Into<String>) -> anyhow::Error {
    UsageError(message.into()).into()
}

/// Refuses arguments that a verb has no use for, so that a typing error is never silently ignored.
fn no_arguments(verb: &str, args: &[OsString]) -> anyhow::Result<()> {
    match args.first() {
        None => Ok(()),
        Some(arg) => Err(usage(format!(
            "{verb} takes no argument: {}",
            arg.display()
        ))),
    }
}
