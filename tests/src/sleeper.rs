//! A program that does nothing until it is killed, for tests and benches that need many of them.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};

/// Sleeps in the group of `group`, or in one of its own. Killed when the thread that spawned it
/// ends: whatever becomes of a bench, no child of it stays behind.
pub fn sleeper(group: Option<Pid>) -> Command {
    let parent = getpid();
    let mut command = Command::new("/bin/sleep");
    command
        .arg("1000")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(group.map_or(0, |leader| leader.as_raw_nonzero().get()));
    // SAFETY: two system calls.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // A parent that was gone before sends nothing.
            if getppid() == Some(parent) {
                Ok(())
            } else {
                Err(io::Error::from_raw_os_error(libc::ESRCH))
            }
        });
    }
    command
}
