//! STANDBY: the process between OUTER and INNER.

use std::os::fd::{AsFd, OwnedFd};

use pidfd_watcher::Process;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, WaitId, WaitIdOptions, setsid, waitid};

use crate::control::{ControlSocket, RECEIVED_AT_ONCE};
use crate::ledger::Phase;
use crate::shim::inner::{self, Standby};
use crate::shim::setup::{self, Setup};
use crate::shim::wake::Wake;
use crate::shim::{inherited, protection, take_over};
use crate::sys::{self, Forked};

/// Starts INNER, and takes over if INNER is killed.
pub(crate) fn run(setup: Setup<'_>, control: ControlSocket, wake: &Wake) -> ! {
    let prepared = setup::become_subreaper().and_then(|()| {
        let signals = sys::signal_fd()?;
        let (started, starting) = sys::pipe()?;
        let standby = Standby {
            process: Process::open(sys::own_pid()?)?,
            starting,
        };
        Ok((standby, started, signals, sys::fork(&setup.alone)?))
    });
    match prepared {
        Err(error) => setup.refuse(&setup::failed(error), wake),
        Ok((standby, started, signals, Forked::Child)) => {
            drop((started, signals));
            inner::run(setup, Some(control), Some(standby), None, wake)
        }
        Ok((standby, started, signals, Forked::Parent(inner))) => {
            drop(standby);
            watch_inner(setup, control, inner, &started, signals, wake)
        }
    }
}

/// `started` is the read end of a pipe. It reports end of file when COMMAND runs.
fn watch_inner(
    setup: Setup<'_>,
    control: ControlSocket,
    inner: Pid,
    started: &OwnedFd,
    signals: OwnedFd,
    wake: &Wake,
) -> ! {
    // A session of its own: no signal of a terminal or a process group comes here.
    let _ = setsid();
    // STANDBY does nothing until COMMAND runs or INNER has ended. So COMMAND starts sooner.
    until_readable(started, inner, &signals);
    inherited::close_all(&setup.alone);
    until_end_of(inner, &signals);
    if setup.ledger.phase() == Phase::Done {
        let _ = sys::reap(inner);
    } else {
        take_over::run(setup, signals, Some(control));
        wake.done();
    }
    sys::exit_now(0)
}

/// Waits for the end of INNER. Continues it whenever it was stopped.
fn until_end_of(inner: Pid, signals: &OwnedFd) {
    // Nobody else reaps this child, so the number is still its own.
    if let Ok(process) = Process::open(inner) {
        while let Ok(None) = process.try_wait() {
            until_readable(&process, inner, signals);
        }
    }
    // Returns at once if the loop has seen the end. Without a pidfd it waits here.
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let _ = retry_on_intr(|| waitid(WaitId::Pid(inner), ended));
}

/// Waits until `what` is readable. Continues INNER whenever it was stopped.
fn until_readable(what: &impl AsFd, inner: Pid, signals: &OwnedFd) {
    loop {
        protection::continue_if_stopped(inner);
        let mut fds = [
            PollFd::new(what, PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
        ];
        // An error says nothing about `what`, and there is no other way to wait.
        let _ = poll(&mut fds, None);
        if !fds[0].revents().is_empty() {
            return;
        }
        for _ in 0..RECEIVED_AT_ONCE {
            if sys::next_signal(signals).is_none() {
                break;
            }
        }
    }
}
