//! Closes what this process has inherited, once COMMAND runs.

use std::fs::{self, File};
use std::io;
use std::os::fd::RawFd;

use rustix::process::chdir;

use crate::sys::{self, SoleThread};

/// Closes all inherited descriptors. They belong to COMMAND alone: a reader that waits for the end
/// of a pipe must not have to wait for the shim too.
///
/// All of the shim's own descriptors are close-on-exec, and no inherited descriptor is. The shim
/// leaves its working directory too: otherwise it would keep a file system busy.
pub(crate) fn close_all(alone: &SoleThread) {
    let _ = chdir("/");
    for number in open_numbers().unwrap_or_default() {
        sys::close_inherited(alone, number);
    }
    let Ok(null) = File::options().read(true).write(true).open("/dev/null") else {
        return;
    };
    let _ = rustix::stdio::dup2_stdin(&null);
    let _ = rustix::stdio::dup2_stdout(&null);
    let _ = rustix::stdio::dup2_stderr(&null);
}

/// The open descriptors above the standard streams. Without /proc they are not found, and stay
/// open.
fn open_numbers() -> io::Result<Vec<RawFd>> {
    let entries = fs::read_dir("/proc/self/fd")?;
    let number = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    Ok(entries
        .filter_map(number)
        .filter(|number| *number > 2)
        .collect())
}
