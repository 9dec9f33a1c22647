//! docs/peers.md.

use std::fs;
use std::path::Path;
use std::process::Command;

use workspace_tests::machine::machine;

/// What the table says, for whoever reads it alone.
const HEAD: &str = "\
A tree of seven hostile processes is started by a runtime: the leader traps TERM; one child is in
its group; two have sessions of their own; one is a daemon by a double fork; one ignores TERM; one
has a group of its own. The runtime is killed by SIGKILL, and two seconds afterwards is counted who
is left. The times are medians, counted from the kill. Ours wait 500 ms between TERM and SIGKILL
here, for the one that ignores TERM.

The runtime starts each tool as its child, in the way that the tool's manual has it. Each trial has
a PID namespace of its own. The optimised build is measured.
";

pub(crate) fn page(rows: &str, versions: &str) -> String {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock");
    let lock = fs::read_to_string(lock).expect("read Cargo.lock");
    let processkit = version(&lock, "processkit").unwrap_or("unknown");
    let date = Command::new("date").args(["-u", "+%F"]).output();
    let date = date.expect("run date").stdout;
    format!(
        "# Peers\n\n{HEAD}\n```sh\ncargo xtask peers\n```\n\n{}, {}.\n\n{rows}\n\n{versions}\n\
         - processkit {processkit}\n",
        String::from_utf8_lossy(&date).trim(),
        machine(),
    )
}

/// The version of a package in Cargo.lock.
fn version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let (_, rest) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    Some(rest.split_once('"')?.0)
}
