//! Handing a watchdog over to threads that act on its verdict.

use std::io;

use crate::{Monitor, StopPolicy, Verdict, Watchdog};

impl Watchdog {
    /// Starts a thread that waits for the verdict and then stops this process: the policy's stop
    /// signal to itself, the grace period, SIGKILL, and `_exit` with 137 for a process that is
    /// immune to its own SIGKILL (pid 1 of a PID namespace). [`Verdict::Released`] stops nothing.
    ///
    /// The kernel drops a signal to pid 1 that would end any other process and that nobody there
    /// handles. Such a process has nothing to do in its grace period, and ends by `_exit` at once,
    /// with 128 and the signal's number. The grace is kept if the signal is handled or ignored, or
    /// if the first thread blocks it or waits for it.
    ///
    /// The thread blocks every signal, and none of what it does needs the rest of the program to be
    /// alive: SIGTERM may be blocked or ignored, its handler may hang, and `main` may be
    /// deadlocked. A process that is stopped by SIGSTOP is frozen with all its threads, this one
    /// included.
    ///
    /// If the descriptor is closed by somebody else in this process, or cannot be read, the process
    /// is stopped too: it would otherwise run on unsupervised, and nobody would know.
    ///
    /// Returns when its threads have started: a seccomp filter that is installed then needs to
    /// allow less than one that is there before. See [the list](crate#system-calls-after-adoption).
    ///
    /// # Errors
    /// `EAGAIN` without room for a thread, `ENOMEM`, and what a seccomp filter answers in the place
    /// of getpid(2), if it did so at adoption too; in a copy made by fork, `EMFILE` without a free
    /// descriptor. The watchdog is gone then: end the process, or live unsupervised. (Room for one
    /// thread, but not for a second one that listens to the parent's sentinel, is no error: see
    /// [`Monitor::guarantees`].)
    pub fn enforce(self, policy: StopPolicy) -> io::Result<Monitor> {
        Monitor::enforce(self, policy)
    }

    /// [`enforce`](Watchdog::enforce) with the policy that the spawner set, so that host and child
    /// know the same grace; [`StopPolicy::default`] if it set none.
    ///
    /// # Errors
    /// As [`Watchdog::enforce`].
    pub fn enforce_inherited(self) -> io::Result<Monitor> {
        let policy = self.stop_policy().unwrap_or_default();
        self.enforce(policy)
    }

    /// Starts a thread that waits for the verdict and gives it to `callback`. What becomes of the
    /// process is then the callback's business, with two exceptions, in which the process is
    /// stopped as [`enforce_inherited`](Watchdog::enforce_inherited) would: the callback panics on
    /// a verdict other than [`Verdict::Released`], or the descriptor cannot be read.
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
