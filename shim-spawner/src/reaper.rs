//! Reaps what dropped handles leave behind: only pidfds that it was given, and never by waiting.

use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::thread;

use pidfd_watcher::{Error, Process, Watcher};
use rustix::io::retry_on_intr;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::sys::BlockedSignals;

/// Those for which there was neither a watcher nor a thread to be had: each drop tries again.
static LEFT: Mutex<Vec<Process>> = Mutex::new(Vec::new());

/// Reaps `process` now if it has exited, else as soon as it does. Never waits.
pub(crate) fn reap_when_exited(process: &Process) {
    // Asked before any lock is taken: in a copy made by fork the process is nobody's child
    // (`ECHILD`).
    if let Err(failed) = process.clone().reap()
        && matches!(failed.error, Error::NotReady(_))
    {
        let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
        left.push(failed.process);
        left.retain(|process| !is_taken_care_of(process));
    }
}

fn is_taken_care_of(process: &Process) -> bool {
    let watched = Watcher::global().and_then(|watcher| {
        watcher
            .watch_and_reap(process.clone(), |_| {})
            .map_err(Error::from)
    });
    match watched {
        Ok(_) | Err(Error::NotChild(_)) => true,
        // No descriptor or no epoll watch is left. A thread that waits for this one needs neither.
        Err(_) => wait_in_a_thread(process.clone()),
    }
}

fn wait_in_a_thread(process: Process) -> bool {
    // The thread inherits the mask: no handler of the program ever runs on it.
    let Ok(_blocked) = BlockedSignals::all() else {
        return false;
    };
    thread::Builder::new()
        .name("shim-reaper".into())
        .stack_size(64 * 1024)
        .spawn(move || {
            // Its end first: waitid(2) takes the stops of a process that this one traces from the
            // tracer.
            if process.wait().is_ok() {
                // Blocks until it can be reaped, past a tracer's hold too. An error is somebody
                // else's reaping.
                let wait = || waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED);
                let _ = retry_on_intr(wait);
            }
        })
        .is_ok()
}
