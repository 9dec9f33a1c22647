//! The child's end of the link.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, FdFlags, fcntl_setfd};

use crate::readiness::Readiness;
use crate::reserve::Reserve;
use crate::sentinel::{Listener, SlotObserver};
use crate::sys::ForkGeneration;
use crate::word::Scanner;
use crate::{Guarantees, StopPolicy, Verdict, events, poll, sys};

/// Learns what became of the parent.
///
/// There are two ways to use it:
/// - Wait for the [`Verdict`] yourself: [`wait`](Watchdog::wait), [`try_wait`](Watchdog::try_wait),
///   or [`AsFd`] in an event loop.
/// - Let a thread act on it: [`enforce`](Watchdog::enforce),
///   [`enforce_inherited`](Watchdog::enforce_inherited), [`on_verdict`](Watchdog::on_verdict).
#[derive(Debug)]
pub struct Watchdog {
    pipe: Arc<OwnedFd>,
    readiness: Arc<Readiness>,
    policy: Option<StopPolicy>,
    scanner: Scanner,
    verdict: Option<Verdict>,
    /// The word of the parent's sentinel, if it has one.
    observer: Option<Arc<SlotObserver>>,
    /// The thread that makes the descriptor readable when the sentinel dies. It is started when
    /// somebody has to wait for the first time. `None` inside: the thread could not be started, and
    /// the pipe is used alone.
    listener: OnceLock<Option<Listener>>,
    /// Until a [`Monitor`](crate::Monitor) takes it. Also `None` if the kernel refused the page
    /// that [`ForkGeneration`] needs.
    reserve: Option<Reserve>,
}

impl Watchdog {
    /// On an error it gives the descriptor back, unchanged.
    pub(crate) fn new(
        pipe: OwnedFd,
        readiness: Readiness,
        observer: Option<SlotObserver>,
        policy: Option<StopPolicy>,
    ) -> Result<Watchdog, (OwnedFd, io::Error)> {
        // A process without that page can still wait. It gets the error when it asks to be
        // protected.
        let reserve = match ForkGeneration::current() {
            Ok(_) => Reserve::take().map(Some),
            Err(_) => Ok(None),
        };
        match reserve.and_then(|reserve| prepare(&pipe, &readiness).map(|()| reserve)) {
            Ok(reserve) => Ok(Watchdog {
                pipe: Arc::new(pipe),
                readiness: Arc::new(readiness),
                policy,
                scanner: Scanner::default(),
                verdict: None,
                observer: observer.map(Arc::new),
                listener: OnceLock::new(),
                reserve,
            }),
            Err(error) => Err((pipe, error)),
        }
    }

    /// The stop policy that the spawner set, if it set one.
    #[must_use]
    pub fn stop_policy(&self) -> Option<StopPolicy> {
        self.policy
    }

    /// What this process can rely on to learn of its parent's end.
    #[must_use]
    pub fn guarantees(&self) -> Guarantees {
        let listens = |listener: &Option<Listener>| {
            listener
                .as_ref()
                .map(Listener::status)
                .is_some_and(|status| status.is_listening())
        };
        let listens = self.listener.get().is_none_or(listens);
        let attached = |observer: &Arc<SlotObserver>| observer.is_attached();
        Guarantees::of(listens && self.observer.as_ref().is_some_and(attached))
    }

    /// Waits for the verdict. If the parent has a sentinel, the first wait that has to sleep starts
    /// a thread. The thread sleeps on the sentinel's word, blocks every signal, and ends with the
    /// watchdog.
    ///
    /// # Errors
    /// `ENOMEM` and `EINVAL` (`RLIMIT_NOFILE` below two) from
    /// [poll(2)](https://man7.org/linux/man-pages/man2/poll.2.html); `EBADF` if other code in this
    /// process closed the descriptor; and whatever a seccomp filter answers. An interruption by a
    /// signal is not an error.
    pub fn wait(&mut self) -> io::Result<Verdict> {
        loop {
            if let Some(verdict) = self.wait_until(None)? {
                return Ok(verdict);
            }
        }
    }

    /// Waits for the verdict, at most for `timeout` on the monotonic clock. `None`: there is none
    /// yet.
    ///
    /// # Errors
    /// As [`Watchdog::wait`].
    pub fn wait_timeout(&mut self, timeout: Duration) -> io::Result<Option<Verdict>> {
        self.wait_until(poll::deadline_in(timeout)?)
    }

    /// The verdict, if there is one. `None`: the parent lives. It may have written something to the
    /// pipe that is no verdict.
    ///
    /// # Errors
    /// As [`Watchdog::wait`].
    #[inline]
    pub fn try_wait(&mut self) -> io::Result<Option<Verdict>> {
        let before = self.verdict;
        let verdict = self.verdict_by_now()?;
        tell_once(before, verdict);
        Ok(verdict)
    }

    fn wait_until(&mut self, deadline: poll::Deadline) -> io::Result<Option<Verdict>> {
        let before = self.verdict;
        let verdict = self.verdict_until(deadline)?;
        tell_once(before, verdict);
        Ok(verdict)
    }

    /// As [`try_wait`](Watchdog::try_wait), without an event: for a caller that acts on the verdict
    /// at once.
    #[inline]
    pub(crate) fn verdict_by_now(&mut self) -> io::Result<Option<Verdict>> {
        if self.verdict.is_none() {
            self.look()?;
        }
        Ok(self.verdict)
    }

    fn verdict_until(&mut self, deadline: poll::Deadline) -> io::Result<Option<Verdict>> {
        loop {
            if self.verdict.is_some() {
                return Ok(self.verdict);
            }
            // Looks once more before it sleeps, because sleeping may start a thread.
            self.look()?;
            if self.verdict.is_some() {
                continue;
            }
            self.listen();
            let latch = self.readiness.latch_fd();
            if !poll::until([self.pipe.as_fd(), latch.as_fd()], deadline)? {
                return Ok(None);
            }
            self.look()?;
        }
    }

    fn listen(&self) {
        let Some(observer) = &self.observer else {
            return;
        };
        self.listener.get_or_init(|| {
            let extras = self.reserve.as_ref().map(Reserve::extras);
            let readiness = Arc::clone(&self.readiness);
            let latch = move || readiness.latch();
            let observer = Arc::clone(observer);
            Listener::start(observer, Listener::STACK, extras.unwrap_or_default(), latch).ok()
        });
    }

    pub(crate) fn tell_of_adoption(&self) {
        events::adopted(sys::number(&self.pipe), self.observer.is_some());
    }

    pub(crate) fn pipe(&self) -> Arc<OwnedFd> {
        Arc::clone(&self.pipe)
    }

    pub(crate) fn take_reserve(&mut self) -> Option<Reserve> {
        self.reserve.take()
    }

    /// For a caller that starts a listener of its own. Ends the listener of this watchdog.
    pub(crate) fn observer(&mut self) -> Option<Arc<SlotObserver>> {
        self.listener = OnceLock::new();
        self.observer.clone()
    }

    /// Looks at the sentinel's word and at the pipe, and decides which of them counts.
    ///
    /// What the parent wrote to the pipe before it died counts more than its death. So the
    /// sentinel's word is loaded first: if it shows a death, everything that the parent ever wrote
    /// can be read by then.
    #[inline]
    fn look(&mut self) -> io::Result<()> {
        let died = self
            .observer
            .as_ref()
            .is_some_and(|observer| observer.parent_died());
        let read = self.read_pipe();
        if died && self.verdict.is_none() {
            self.settle(Verdict::ParentExited);
        }
        if self.verdict.is_some() { Ok(()) } else { read }
    }

    /// Reads until there is a verdict or nothing more to read.
    ///
    /// The verdict always comes from a read, never from POLLHUP. The kernel looks at the pipe's
    /// buffer before it counts the writers. If a word and a close come in between, poll reports
    /// POLLHUP without the POLLIN of the word (`pipe_poll` in fs/pipe.c). End of file is certain:
    /// the buffer is empty and nobody can write. Stray data, POLLERR and POLLNVAL are not end of
    /// file.
    #[inline]
    fn read_pipe(&mut self) -> io::Result<()> {
        // Small, so that the compiler clears it without a call into the C library.
        let mut buffer = [0; 64];
        while self.verdict.is_none() {
            match rustix::io::read(&*self.pipe, &mut buffer) {
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
}

/// Only the call that learns the verdict reports it.
#[inline]
fn tell_once(before: Option<Verdict>, verdict: Option<Verdict>) {
    if let (None, Some(verdict)) = (before, verdict) {
        events::verdict(verdict);
    }
}

/// Calls that can fail come first; those that change the descriptor permanently come last.
fn prepare(pipe: &OwnedFd, readiness: &Readiness) -> io::Result<()> {
    readiness.watch(pipe)?;
    fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
    Ok(fcntl_setfd(pipe, FdFlags::CLOEXEC)?)
}

/// Becomes readable (`POLLIN`) with the verdict and stays readable. Register it in any event loop,
/// and call [`Watchdog::try_wait`] when it is readable. It may become readable without a verdict,
/// when something else was written to the pipe; `try_wait` reads that away. The first call starts
/// the thread that [`Watchdog::wait`] describes.
impl AsFd for Watchdog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        if self.verdict.is_none() {
            self.listen();
        }
        self.readiness.as_fd()
    }
}
