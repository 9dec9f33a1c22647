//! `cargo xtask stress soak`: a runtime that works without end, watched for growth. It ends when
//! the time is over, or at SIGINT or SIGTERM; then it prints a table.

use std::process::ExitCode;

fn main() -> ExitCode {
    workspace_tests::soak::main().unwrap_or_else(|error| {
        eprintln!("soak: {error:#}");
        ExitCode::FAILURE
    })
}
