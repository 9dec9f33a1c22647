//! Hands a watchdog over to threads that act on its verdict.

use std::io;

use crate::{Monitor, StopPolicy, Verdict, Watchdog};

impl Watchdog {
    /// Starts a thread that waits for the verdict and then stops this process:
    /// 1. It sends the policy's stop signal to the process.
    /// 2. It waits for the grace period.
    /// 3. It sends SIGKILL.
    /// 4. It calls `_exit` with 137, for a process that is immune to its own SIGKILL: pid 1 of a
    ///    PID namespace.
    ///
    /// [`Verdict::Released`] stops nothing.
    ///
    /// The kernel drops a signal to pid 1 if the signal would end any other process and pid 1 does
    /// not handle it. Such a process has nothing to do in its grace period. It ends by `_exit` at
    /// once, with 128 plus the signal's number. The grace period is kept if the process handles or
    /// ignores the signal, or if its first thread blocks it or waits for it.
    ///
    /// The thread blocks every signal. It needs no other part of the program: SIGTERM may be
    /// blocked or ignored, its handler may hang, and `main` may be deadlocked. But SIGSTOP freezes
    /// a process with all its threads, this one included.
    ///
    /// The process is also stopped if other code in it closes the descriptor, or if the descriptor
    /// cannot be read. Otherwise the process would run on unsupervised, and nobody would know.
    ///
    /// Returns when its threads have started. A seccomp filter that is installed then needs to
    /// allow less than one that is installed before. See [the
    /// list](crate#system-calls-after-adoption).
    ///
    /// # Errors
    /// `EAGAIN` without room for a thread; `ENOMEM`; what a seccomp filter answers instead of
    /// getpid(2), if it did so at adoption too; in a copy made by fork, `EMFILE` without a free
    /// descriptor. The watchdog is gone then: end the process, or run on unsupervised. It is no
    /// error if there is room for this thread, but not for the second one, which listens to the
    /// parent's sentinel: see [`Monitor::guarantees`].
    pub fn enforce(self, policy: StopPolicy) -> io::Result<Monitor> {
        Monitor::enforce(self, policy)
    }

    /// [`enforce`](Watchdog::enforce) with the policy that the spawner set, so that parent and
    /// child use the same grace period. [`StopPolicy::default`] if the spawner set none.
    ///
    /// # Errors
    /// As [`Watchdog::enforce`].
    pub fn enforce_inherited(self) -> io::Result<Monitor> {
        let policy = self.stop_policy().unwrap_or_default();
        self.enforce(policy)
    }

    /// Starts a thread that waits for the verdict and gives it to `callback`. The callback then
    /// decides what happens to the process, except in two cases: it panics on a verdict other than
    /// [`Verdict::Released`], or the descriptor cannot be read. In these cases the process is
    /// stopped as by [`enforce_inherited`](Watchdog::enforce_inherited).
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
