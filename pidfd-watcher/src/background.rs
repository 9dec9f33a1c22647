//! Reaping what nobody waits for any more: never by waiting here, and only what was given.

use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use rustix::io::retry_on_intr;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::sys::{BlockedSignals, RawThread};
use crate::{Error, Process, Watcher};

/// Those for which there was neither a watcher nor a thread to be had: each call tries again.
static LEFT: Mutex<Vec<Process>> = Mutex::new(Vec::new());

impl Process {
    /// Reaps a child of this process now if it has exited, else as soon as it does, in the
    /// background. Never waits, never fails, and does nothing about a process that is not ours to
    /// reap. For a drop.
    ///
    /// [The watcher that all share](Watcher::global) does it; where no descriptor is left to start
    /// it, a thread that needs none; where there is no thread either, the next call tries again.
    pub fn reap_when_exited(&self) {
        // Asked before any lock is taken: in a copy made by fork the process is nobody's child
        // (`ECHILD`).
        if let Err(failed) = self.clone().reap()
            && matches!(failed.error, Error::NotReady(_))
        {
            let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
            left.push(failed.process);
            left.retain(|process| !is_taken_care_of(process));
        }
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
    let main = move || {
        // Its end first: waitid(2) takes the stops of a process that this one traces from the
        // tracer.
        if process.wait().is_ok() {
            // Blocks until it can be reaped, past a tracer's hold too. An error is somebody else's
            // reaping.
            let wait = || waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED);
            let _ = retry_on_intr(wait);
        }
    };
    RawThread::start(c"pidfd-reaper", 64 << 10, Box::new(main)).is_ok()
}
