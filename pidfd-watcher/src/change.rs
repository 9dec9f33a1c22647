//! Reports that a child was stopped by a signal, or continued.

use std::os::fd::AsFd;

use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Signal, WaitId, WaitIdOptions, WaitIdStatus, waitid};

use crate::{Error, Exit, Process};

/// What happened to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A signal has stopped it: SIGSTOP, or one from the terminal.
    Stopped(Signal),
    /// SIGCONT has continued it.
    Continued,
    /// It has exited. It was not reaped.
    Exited(Exit),
}

/// The kernel reports the stops of a process's children to that process, and raises SIGCHLD for
/// each. It reports them by no descriptor: only the exit makes a pidfd readable.
impl Process {
    /// What happened to this child since the last call, or `None`. Never blocks and never reaps: an
    /// exit is reported again and again.
    ///
    /// A stop is reported once, to one of all callers in this process that ask (`waitpid` with
    /// `WUNTRACED` is one of them). Only the last change is reported: if the child was stopped and
    /// continued meanwhile, the stop is lost. Call this when SIGCHLD comes.
    ///
    /// Do not call it for a process that this one traces: ptrace stops are meant for the tracer,
    /// and would be lost.
    ///
    /// # Errors
    ///
    /// - [`NotChild`](Error::NotChild): it lives, and this process cannot wait for it.
    /// - As [`try_wait`](Process::try_wait).
    pub fn try_change(&self) -> Result<Option<Change>, Error> {
        let news = WaitIdOptions::STOPPED | WaitIdOptions::CONTINUED | WaitIdOptions::NOHANG;
        match self.ask(news) {
            Ok(Some(status)) => {
                if let Some(change) = change(&status) {
                    return Ok(Some(change));
                }
            }
            // Reaped, or not our child: its exit may still be visible.
            Ok(None) | Err(Errno::CHILD) => {}
            Err(errno) => return Err(Error::of_wait(errno)),
        }
        if let Some(exit) = self.try_wait()? {
            return Ok(Some(Change::Exited(exit)));
        }
        self.check_is_ours()?;
        Ok(None)
    }

    /// Waits until something happens to this child: see [`try_change`](Process::try_change).
    ///
    /// # Errors
    ///
    /// As [`try_change`](Process::try_change).
    pub fn wait_change(&self) -> Result<Change, Error> {
        loop {
            if let Some(change) = self.try_change()? {
                return Ok(change);
            }
            // Leaves the change for the call above: an exit must not be collected.
            let any = WaitIdOptions::STOPPED | WaitIdOptions::CONTINUED | WaitIdOptions::EXITED;
            match self.ask(any | WaitIdOptions::NOWAIT) {
                Ok(_) | Err(Errno::CHILD) => {}
                Err(errno) => return Err(Error::of_wait(errno)),
            }
        }
    }

    fn ask(&self, options: WaitIdOptions) -> Result<Option<WaitIdStatus>, Errno> {
        // __WALL: a child made by clone with another exit signal than SIGCHLD is also a child.
        let all = WaitIdOptions::from_bits_retain(libc::__WALL.cast_unsigned());
        retry_on_intr(|| waitid(WaitId::PidFd(self.as_fd()), options | all))
    }
}

/// `None`: it was a ptrace stop.
fn change(status: &WaitIdStatus) -> Option<Change> {
    if status.continued() {
        return Some(Change::Continued);
    }
    let signal = status.stopping_signal()?;
    Signal::from_named_raw(signal).map(Change::Stopped)
}
