//! Stands above a parent and its children: starts the program it is given, inherits every orphan,
//! says "PID STATUS" to the cast for each process that it reaps, and ends with the last one.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use workspace_tests::cast::Role;
use workspace_tests::launch::Launch;
use workspace_tests::{proc_fs, signals};

fn main() -> io::Result<()> {
    signals::default_actions();
    // Whatever the test runner leaked into this tree is no part of the play.
    for number in proc_fs::own_fds().into_keys().filter(|number| *number > 2) {
        // SAFETY: the first thing in main: nothing here owns a descriptor yet.
        drop(unsafe { OwnedFd::from_raw_fd(number) });
    }
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let mut cast = Role::enter("reaper");
    let program = std::env::args_os().nth(1).expect("a program");
    Launch::new(program).start()?;
    loop {
        let mut status = 0;
        // SAFETY: `status` is a valid place for the answer. Every child of this process is to be
        // reaped.
        match unsafe { libc::waitpid(-1, &raw mut status, 0) } {
            -1 => break,
            pid => cast.say(format!("{pid} {status}")),
        }
    }
    // The test may still ask for what was said last.
    while cast.next_order().is_some() {}
    Ok(())
}
