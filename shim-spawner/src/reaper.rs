//! Reaps shims whose handle was dropped: one thread, one epoll, only pidfds that were given to it.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::thread;

use pidfd_watcher::Process;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::sys;

static REAPER: Mutex<Option<Reaper>> = Mutex::new(None);

#[derive(Debug)]
struct Reaper {
    epoll: OwnedFd,
    /// By a token that is never used again, not by pid.
    waiting: HashMap<u64, Process>,
    next: u64,
    running: bool,
}

/// Reaps `process` now if it has exited, else as soon as it does. Never waits.
pub(crate) fn reap_when_exited(process: &Process) {
    // Asked before the lock: in a copy made by fork, the process is nobody's child here (`ECHILD`), and
    // the lock may be held by a thread that the copy does not have.
    let now = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    if !matches!(
        waitid(WaitId::PidFd(rustix::fd::AsFd::as_fd(process)), now),
        Ok(None)
    ) {
        return;
    }
    let mut reaper = REAPER.lock().unwrap_or_else(PoisonError::into_inner);
    // Without a descriptor or a thread to be had, the process stays with us and is swept up later.
    let _ = add(&mut reaper, process);
}

fn add(slot: &mut Option<Reaper>, process: &Process) -> io::Result<()> {
    let reaper = match slot {
        Some(reaper) => reaper,
        None => slot.insert(Reaper {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            waiting: HashMap::new(),
            next: 0,
            running: false,
        }),
    };
    reaper
        .waiting
        .retain(|_, process| process.clone().reap().is_err());
    let token = reaper.next;
    reaper.next += 1;
    reaper.waiting.insert(token, process.clone());
    // Edge-triggered: a traced zombie is readable and cannot be reaped yet; the reap edge comes later.
    let edge = EventFlags::IN | EventFlags::ET;
    epoll::add(&reaper.epoll, process, EventData::new_u64(token), edge)?;
    if !reaper.running {
        let epoll = rustix::io::fcntl_dupfd_cloexec(&reaper.epoll, 3)?;
        thread::Builder::new()
            .name("shim-reaper".into())
            .stack_size(128 * 1024)
            .spawn(move || run(&epoll))?;
        reaper.running = true;
    }
    Ok(())
}

fn run(epoll: &OwnedFd) {
    sys::block_signals();
    let mut events = Vec::with_capacity(64);
    loop {
        events.clear();
        if epoll::wait(epoll, rustix::buffer::spare_capacity(&mut events), None).is_err() {
            continue;
        }
        let mut slot = REAPER.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(reaper) = slot.as_mut() else {
            return;
        };
        for event in &events {
            let token = event.data.u64();
            let done = reaper
                .waiting
                .get(&token)
                .is_some_and(|process| process.clone().reap().is_ok());
            if done && let Some(process) = reaper.waiting.remove(&token) {
                // Deleted before the close: a copy in a forked child would keep it alive in the set.
                let _ = epoll::delete(epoll, &process);
            }
        }
    }
}
