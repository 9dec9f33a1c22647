//! The child's end of the link.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, FdFlags, fcntl_setfd};

use crate::readiness::Readiness;
use crate::word::Scanner;
use crate::{AdoptError, Monitor, StopPolicy, Verdict, adopt, poll};

/// Learns what became of the parent.
///
/// Either wait for the [`Verdict`] yourself ([`wait`](Watchdog::wait), [`try_wait`](Watchdog::try_wait),
/// or [`AsFd`] in an event loop), or let a thread act on it ([`enforce`](Watchdog::enforce),
/// [`enforce_inherited`](Watchdog::enforce_inherited), [`on_verdict`](Watchdog::on_verdict)).
#[derive(Debug)]
pub struct Watchdog {
    pipe: OwnedFd,
    readiness: Readiness,
    policy: Option<StopPolicy>,
    scanner: Scanner,
    verdict: Option<Verdict>,
}

impl Watchdog {
    /// An error gives the descriptor back as it was.
    pub(crate) fn new(
        pipe: OwnedFd,
        readiness: Readiness,
        policy: Option<StopPolicy>,
    ) -> Result<Watchdog, (OwnedFd, io::Error)> {
        match prepare(&pipe, &readiness) {
            Ok(()) => Ok(Watchdog {
                pipe,
                readiness,
                policy,
                scanner: Scanner::default(),
                verdict: None,
            }),
            Err(error) => Err((pipe, error)),
        }
    }

    /// Adopts a read end that came by a protocol of the caller's own. Sets close-on-exec and
    /// `O_NONBLOCK`.
    ///
    /// # Errors
    /// [`AdoptError::NotAPipe`], [`AdoptError::WrongEnd`], [`AdoptError::HoldsWriter`] and
    /// [`AdoptError::Io`]; the descriptor is closed.
    pub fn from_fd(pipe: OwnedFd) -> Result<Watchdog, AdoptError> {
        adopt::from_fd(pipe, None)
    }

    /// The stop policy that the spawner set, if it set one.
    #[must_use]
    pub fn stop_policy(&self) -> Option<StopPolicy> {
        self.policy
    }

    /// Waits for the verdict.
    ///
    /// # Errors
    /// `ENOMEM` from [poll(2)](https://man7.org/linux/man-pages/man2/poll.2.html), and `EBADF` when
    /// somebody closed the descriptor behind our back. An interruption by a signal is not an error.
    pub fn wait(&mut self) -> io::Result<Verdict> {
        loop {
            if let Some(verdict) = self.wait_until(None)? {
                return Ok(verdict);
            }
        }
    }

    /// Waits for the verdict, at most for `timeout` on the monotonic clock. `None`: not yet.
    ///
    /// # Errors
    /// As [`Watchdog::wait`].
    pub fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<Verdict>> {
        // A deadline past the end of the clock is none.
        self.wait_until(Instant::now().checked_add(timeout))
    }

    /// The verdict, if there is one. `None`: the parent lives, or something was on the pipe that is no
    /// verdict.
    ///
    /// # Errors
    /// As [`Watchdog::wait`].
    pub fn try_wait(&mut self) -> io::Result<Option<Verdict>> {
        if self.verdict.is_none() {
            self.read_pipe()?;
        }
        Ok(self.verdict)
    }

    fn wait_until(&mut self, deadline: Option<Instant>) -> io::Result<Option<Verdict>> {
        loop {
            if self.verdict.is_some() {
                return Ok(self.verdict);
            }
            let mut fds = [self.poll_fd()];
            if !poll::until(&mut fds, deadline)? {
                return Ok(None);
            }
            self.read_pipe()?;
        }
    }

    pub(crate) fn poll_fd(&self) -> PollFd<'_> {
        PollFd::new(&self.pipe, PollFlags::IN)
    }

    /// Reads until there is a verdict or nothing more to read.
    ///
    /// The verdict is always read, never taken from POLLHUP: the kernel looks at the pipe's buffer
    /// before it looks at the number of writers, so that a word and a close in between give a POLLHUP
    /// without the POLLIN of the word (`pipe_poll` in fs/pipe.c). End of file is what is sure: the
    /// buffer is empty and nobody can write. Stray data, POLLERR and POLLNVAL are not end of file.
    fn read_pipe(&mut self) -> io::Result<()> {
        let mut buffer = [0; 512];
        while self.verdict.is_none() {
            match rustix::io::read(&self.pipe, &mut buffer) {
                Ok(0) => self.settle(Verdict::ParentExited),
                Ok(count) => {
                    if let Some(verdict) = self.scanner.feed(&buffer[..count]) {
                        self.settle(verdict);
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn settle(&mut self, verdict: Verdict) {
        self.verdict = Some(verdict);
        self.readiness.settle();
    }

    /// Starts a thread that waits for the verdict and then stops this process: the policy's stop signal
    /// to itself, the grace period, SIGKILL, and `_exit` for a process that is immune to its own SIGKILL
    /// (pid 1 of a PID namespace). [`Verdict::Released`] stops nothing.
    ///
    /// The thread blocks every signal, and none of what it does needs the rest of the program to be
    /// alive: SIGTERM may be blocked or ignored, its handler may hang, and `main` may be deadlocked. A
    /// process that is stopped by SIGSTOP is frozen with all its threads, this one included.
    ///
    /// If the descriptor is closed by somebody else in this process, or cannot be waited for, the
    /// process is stopped too: it would otherwise run on unsupervised, and nobody would know.
    ///
    /// # Errors
    /// `EAGAIN` without room for a thread, `EMFILE` without a free descriptor, `ENOMEM`. The watchdog is gone
    /// then: end the process, or live unsupervised.
    pub fn enforce(self, policy: StopPolicy) -> io::Result<Monitor> {
        Monitor::enforce(self, policy)
    }

    /// [`enforce`](Watchdog::enforce) with the policy that the spawner set, so that host and child know
    /// the same grace; [`StopPolicy::default`] if it set none.
    ///
    /// # Errors
    /// As [`Watchdog::enforce`].
    pub fn enforce_inherited(self) -> io::Result<Monitor> {
        let policy = self.policy.unwrap_or_default();
        self.enforce(policy)
    }

    /// Starts a thread that waits for the verdict and gives it to `callback`. What becomes of the process
    /// is then the callback's business, with two exceptions, in which the process is stopped as
    /// [`enforce_inherited`](Watchdog::enforce_inherited) would: the callback panics on a verdict other
    /// than [`Verdict::Released`], or the descriptor cannot be waited for.
    ///
    /// All signals are blocked in the thread that runs the callback.
    ///
    /// # Errors
    /// As [`Watchdog::enforce`].
    pub fn on_verdict(
        self,
        callback: impl FnOnce(Verdict) + Send + 'static,
    ) -> io::Result<Monitor> {
        Monitor::on_verdict(self, callback)
    }
}

/// What can fail comes first, and what changes the descriptor for good comes last.
fn prepare(pipe: &OwnedFd, readiness: &Readiness) -> io::Result<()> {
    readiness.watch(pipe)?;
    fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
    Ok(fcntl_setfd(pipe, FdFlags::CLOEXEC)?)
}

/// Becomes readable (`POLLIN`) with the verdict and stays so: register it in any event loop, and call
/// [`Watchdog::try_wait`] when it is. It may be readable without a verdict, when something was on the pipe
/// that is none; `try_wait` clears that.
impl AsFd for Watchdog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.readiness.as_fd()
    }
}
