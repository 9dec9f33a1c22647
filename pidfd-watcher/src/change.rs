//! A child that is stopped by a signal, and continued.

use std::os::fd::AsFd;

use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Signal, WaitId, WaitIdOptions, WaitIdStatus, waitid};

use crate::{Error, Exit, Process};

/// What has become of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A signal has stopped it: SIGSTOP, or one of the terminal's.
    Stopped(Signal),
    /// SIGCONT has continued it.
    Continued,
    /// It has exited. It was not reaped.
    Exited(Exit),
}

/// The kernel tells stops of its children to a process, and raises SIGCHLD for each. It tells them
/// by no descriptor: a pidfd becomes readable by the exit alone.
impl Process {
    /// What has become of this child since it was last asked, or `None`. Never blocks, never reaps:
    /// an exit is told again and again.
    ///
    /// A stop is told once, to one of all those who ask in this process (`waitpid` with `WUNTRACED`
    /// among them), and only the last one: of a child that was stopped and continued meanwhile, the
    /// stop is lost. Ask when SIGCHLD comes.
    ///
    /// Do not ask about a process that this one traces: its ptrace stops are the tracer's, and
    /// would be lost.
    ///
    /// # Errors
    ///
    /// - [`NotChild`](Error::NotChild): it lives, and is not ours to wait for.
    /// - As [`try_wait`](Process::try_wait).
    pub fn try_change(&self) -> Result<Option<Change>, Error> {
        let news = WaitIdOptions::STOPPED | WaitIdOptions::CONTINUED | WaitIdOptions::NOHANG;
        match self.ask(news) {
            Ok(Some(status)) => {
                if let Some(change) = change(&status) {
                    return Ok(Some(change));
                }
            }
            // Reaped, or no child of ours: its exit may be seen all the same.
            Ok(None) | Err(Errno::CHILD) => {}
            Err(errno) => return Err(Error::of_wait(errno)),
        }
        if let Some(exit) = self.try_wait()? {
            return Ok(Some(Change::Exited(exit)));
        }
        self.check_is_ours()?;
        Ok(None)
    }

    /// Waits until there is something to tell of this child: see
    /// [`try_change`](Process::try_change).
    ///
    /// # Errors
    ///
    /// As [`try_change`](Process::try_change).
    pub fn wait_change(&self) -> Result<Change, Error> {
        loop {
            if let Some(change) = self.try_change()? {
                return Ok(change);
            }
            // Left for the call above to take: an exit must not be collected.
            let any = WaitIdOptions::STOPPED | WaitIdOptions::CONTINUED | WaitIdOptions::EXITED;
            match self.ask(any | WaitIdOptions::NOWAIT) {
                Ok(_) | Err(Errno::CHILD) => {}
                Err(errno) => return Err(Error::of_wait(errno)),
            }
        }
    }

    fn ask(&self, options: WaitIdOptions) -> Result<Option<WaitIdStatus>, Errno> {
        // __WALL: a child made by clone with another exit signal than SIGCHLD is a child as well.
        let all = WaitIdOptions::from_bits_retain(libc::__WALL.cast_unsigned());
        retry_on_intr(|| waitid(WaitId::PidFd(self.as_fd()), options | all))
    }
}

/// `None`: a ptrace stop.
fn change(status: &WaitIdStatus) -> Option<Change> {
    if status.continued() {
        return Some(Change::Continued);
    }
    let signal = status.stopping_signal()?;
    Signal::from_named_raw(signal).map(Change::Stopped)
}
