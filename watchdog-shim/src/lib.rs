//! Makes any unmodified program, and everything that it starts, end when the process that started
//! it ends.
//!
//! `watchdog-shim [OPTIONS] [--] COMMAND [ARG...]` runs COMMAND. When the process that started the
//! shim (the runtime) dies or lets go, COMMAND and all its descendants get a stop signal. They have
//! a grace period. Then they are killed.
//!
//! This crate is that program, as a library: [`run`] is its `main`. A runtime that does not want a
//! second file on the disk calls [`run_if_asked`] first in its own `main`, and starts itself as the
//! shim.

#[cfg(not(target_os = "linux"))]
compile_error!("watchdog-shim is for Linux: it stands on pidfds, subreapers and PID namespaces");

mod cgroup;
#[allow(unsafe_code)]
mod child;
mod command;
mod control;
mod descendants;
mod explain;
mod failure;
mod help;
mod instant;
mod keeper;
mod ledger;
mod namespace;
mod options;
mod plan;
mod policy;
mod proc;
mod required_calls;
mod shim;
mod signals;
mod status;
#[allow(unsafe_code)]
mod sys;
mod table;
mod tree;
mod values;
mod watch;

use std::ffi::{OsString, c_char, c_int};
use std::io::Write;
use std::path::Path;

use crate::explain::Explanation;
use crate::failure::Failure;
use crate::options::Request;
use crate::shim::End;
use crate::sys::SoleThread;

/// The name under which a program is started to act as the shim: see [`run_if_asked`].
pub const NAME: &str = "watchdog-shim";

/// Acts as the shim. Reads the command line (without the program's own name), runs COMMAND, and
/// ends this process as COMMAND ended.
///
/// The shim's own exit codes: 125 if the shim failed or a requirement is not met, 126 if COMMAND
/// cannot be executed, 127 if it was not found. A line on standard error says why.
///
/// # Safety
/// This process has one thread. No part of it owns a descriptor that it has inherited, except the
/// standard streams. Call it first in `main`.
#[allow(unsafe_code)]
pub unsafe fn run(args: impl IntoIterator<Item = OsString>) -> ! {
    // SAFETY: the caller's promise.
    let alone = unsafe { SoleThread::assume() };
    match answer(alone, args) {
        Ok(End::Code(code)) => sys::exit_now(code),
        Ok(End::Signal(signal)) => {
            sys::die_of(signal);
            // The signal has not ended this process; it may be pid 1 of a namespace. Exit with the
            // code that a shell would report.
            sys::exit_now(u8::try_from(128 + signal).unwrap_or(u8::MAX))
        }
        Err(failure) => {
            failure.print();
            sys::exit_now(failure.code())
        }
    }
}

/// [`run`] with the arguments of C's `main`, which include the program's own name.
///
/// For a program whose `main` is C's (`#![no_main]`). Rust's own `main` ignores SIGPIPE before it
/// runs anything of the program, and COMMAND would inherit that.
///
/// # Safety
/// As for [`run`]; and `arguments` are `count` strings as C's `main` gets them.
#[allow(unsafe_code)]
pub unsafe fn main(count: c_int, arguments: *const *const c_char) -> ! {
    // SAFETY: the caller's promise.
    unsafe { run(sys::arguments(count, arguments).into_iter().skip(1)) }
}

/// Acts as the shim if this program was started under the [`NAME`]. Otherwise returns at once.
///
/// ```no_run
/// // SAFETY: first in main.
/// unsafe { watchdog_shim::run_if_asked() };
/// // the program itself
/// ```
///
/// COMMAND gets SIGPIPE with its default action. Rust's own `main` has changed the action, and it
/// cannot be known what it was.
///
/// # Safety
/// As for [`run`].
#[allow(unsafe_code)]
pub unsafe fn run_if_asked() {
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    if Path::new(&name)
        .file_name()
        .is_some_and(|name| name == NAME)
    {
        // Rust's own `main` has ignored it.
        sys::default_sigpipe();
        // SAFETY: the caller's promise.
        unsafe { run(args) }
    }
}

fn answer(alone: SoleThread, args: impl IntoIterator<Item = OsString>) -> Result<End, Failure> {
    sys::occupy_standard_streams().map_err(|error| {
        Failure::io(
            "a standard stream is closed, and nothing can be put there",
            &error,
        )
    })?;
    match options::parse(args)? {
        Request::Help => say(&help::text()),
        Request::Version => say(concat!("watchdog-shim ", env!("CARGO_PKG_VERSION"), "\n")),
        Request::PrintPlan(options) => {
            required_calls::check()?;
            // If the caller ignores SIGCHLD, this process could not wait for the children that try
            // something.
            sys::take_signals()
                .map_err(|error| Failure::io("signals cannot be blocked", &error))?;
            let Explanation { text, refused } = Explanation::of(&alone, &options);
            let end = say(&text)?;
            refused.map_or(Ok(end), Err)
        }
        Request::Run(options) => shim::run(alone, &options),
    }
}

fn say(text: &str) -> Result<End, Failure> {
    let written = std::io::stdout().write_all(text.as_bytes());
    written.map_err(|error| Failure::io("standard output", &error))?;
    Ok(End::Code(0))
}
