//! Reaps children that nobody waits for any more. It never waits here, and reaps only what it was
//! given.

use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use rustix::io::retry_on_intr;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::sys::{BlockedSignals, RawThread};
use crate::{Error, Process, Watcher};

/// Children for which neither a watcher nor a thread could be started. Each call tries again.
static LEFT: Mutex<Vec<Process>> = Mutex::new(Vec::new());

impl Process {
    /// Reaps a child of this process: now if it has exited, otherwise in the background as soon as
    /// it does. Never waits and never fails. Does nothing if this process cannot reap it. Intended
    /// for use in a drop.
    ///
    /// [The watcher that the whole process shares](Watcher::global) does it. If no descriptor is
    /// free to start that watcher, a thread does it that needs none. If no thread can be started
    /// either, the next call tries again.
    pub fn reap_when_exited(&self) {
        // Checked before any lock is taken: in a copy made by fork the process is nobody's child
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
        // No descriptor or no epoll watch is left. A thread that waits for this process needs
        // neither.
        Err(_) => wait_in_a_thread(process.clone()),
    }
}

fn wait_in_a_thread(process: Process) -> bool {
    // The thread inherits the mask, so no handler of the program ever runs on it.
    let Ok(_blocked) = BlockedSignals::all() else {
        return false;
    };
    let main = move || {
        // Wait for its end first: if this process traces it, waitid(2) would take its stops away
        // from the tracer.
        if process.wait().is_ok() {
            // Blocks until it can be reaped, even if a tracer holds it. An error means that
            // somebody else has reaped it.
            let wait = || waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED);
            let _ = retry_on_intr(wait);
        }
    };
    RawThread::start(c"pidfd-reaper", 64 << 10, Box::new(main)).is_ok()
}
