//! `shim_run PROGRAM [ARGUMENT...]` runs a program as an attached shim, and ends as it does.
//!
//! A runtime in a build: where make has left its jobserver open to it, the program gets that on the
//! same numbers.

use std::os::fd::{BorrowedFd, RawFd};
use std::process::ExitCode;

use shim_spawner::{ShimHandler, ShimSpawner};
use workspace_tests::fd_table::id_of;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let mut spawner = ShimSpawner::new(args.next().expect("a program"));
    spawner.args(args);
    for number in jobserver().filter(|&number| id_of(number).is_some()) {
        // SAFETY: open, as just seen, and nothing in this program closes it.
        let open = unsafe { BorrowedFd::borrow_raw(number) };
        let copy = open.try_clone_to_owned().expect("a copy");
        spawner.map_fd(copy, number);
    }
    let mut shim = ShimHandler::new(spawner.spawn().expect("spawn"));
    let status = shim.wait().expect("wait").status.expect("own child");
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    ExitCode::from(code.unwrap_or(101))
}

/// The numbers in `MAKEFLAGS`: `-j4 --jobserver-auth=3,4`.
fn jobserver() -> impl Iterator<Item = RawFd> {
    let flags = std::env::var("MAKEFLAGS").unwrap_or_default();
    let numbers: Vec<RawFd> = flags
        .split(' ')
        .filter_map(|flag| flag.strip_prefix("--jobserver-auth="))
        .flat_map(|pair| pair.split(','))
        .filter_map(|number| number.parse().ok())
        .collect();
    numbers.into_iter()
}
