//! The thread that acts on the verdict.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::{self, JoinHandle};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};

use crate::home::Home;
use crate::sys::BlockedSignals;
use crate::{StopPolicy, Verdict, Watchdog, poll, stop};

/// Enough for our own frames; a callback of the caller's gets the standard size.
const STACK: usize = 128 * 1024;

/// A running protection. Dropping it leaves the protection on. A copy made by fork is inert.
#[derive(Debug)]
pub struct Monitor {
    thread: JoinHandle<()>,
    shared: Arc<Shared>,
    home: Home,
}

/// What the handle and the thread both hold.
#[derive(Debug)]
struct Shared {
    /// Readable once the protection was cancelled.
    cancel: OwnedFd,
    /// The verdict as [`encode`] puts it; 0 before there is one.
    verdict: AtomicU8,
}

impl Monitor {
    pub(crate) fn enforce(watchdog: Watchdog, policy: StopPolicy) -> io::Result<Monitor> {
        Monitor::start(
            watchdog,
            policy,
            thread::Builder::new().stack_size(STACK),
            move |verdict, cancel| {
                if verdict.is_final() {
                    stop::this_process(policy, cancel);
                }
            },
        )
    }

    pub(crate) fn on_verdict(
        watchdog: Watchdog,
        callback: impl FnOnce(Verdict) + Send + 'static,
    ) -> io::Result<Monitor> {
        let policy = watchdog.stop_policy().unwrap_or_default();
        let act = move |verdict: Verdict, cancel: BorrowedFd<'_>| {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| callback(verdict))) {
                // A payload may panic in its own drop.
                std::mem::forget(payload);
                if verdict.is_final() {
                    stop::this_process(policy, cancel);
                }
            }
        };
        Monitor::start(watchdog, policy, thread::Builder::new(), act)
    }

    fn start(
        mut watchdog: Watchdog,
        policy: StopPolicy,
        thread: thread::Builder,
        act: impl FnOnce(Verdict, BorrowedFd<'_>) + Send + 'static,
    ) -> io::Result<Monitor> {
        let home = Home::here()?;
        let shared = Arc::new(Shared {
            cancel: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            verdict: AtomicU8::new(0),
        });
        let theirs = Arc::clone(&shared);
        // The thread inherits the mask: at no instant can it run a handler of the program's.
        let _blocked = BlockedSignals::all()?;
        let thread = thread.name("watchdog".into()).spawn(move || {
            let cancel = theirs.cancel.as_fd();
            match wait(&mut watchdog, cancel) {
                Ok(Some(verdict)) => {
                    theirs.verdict.store(encode(verdict), Ordering::Release);
                    act(verdict, cancel);
                }
                Ok(None) => {}
                // The link is lost, which is no verdict: see `Watchdog::enforce`.
                Err(_) => stop::this_process(policy, cancel),
            }
        })?;
        Ok(Monitor {
            thread,
            shared,
            home,
        })
    }

    /// Ends the protection, the grace period of a stop that has begun included, and waits for its thread
    /// to end; inside the callback of [`Watchdog::on_verdict`] it does not wait. The verdict, if one came
    /// before. In a copy made by fork it ends nothing: the protection is the original's.
    #[allow(clippy::must_use_candidate, reason = "the verdict is a by-product")]
    pub fn cancel(self) -> Option<Verdict> {
        if !self.home.is_here() {
            // The eventfd is shared with the original, and there is no thread here to wait for.
            std::mem::forget(self.thread);
            return decode(self.shared.verdict.load(Ordering::Acquire));
        }
        // The counter goes from 0 to 1, once: neither EAGAIN nor EINTR can come of that.
        let _ = rustix::io::write(&self.shared.cancel, &1_u64.to_ne_bytes());
        if thread::current().id() != self.thread.thread().id() {
            // An Err is a panic in the drop of the callback's captures: the thread has ended all the same.
            if let Err(payload) = self.thread.join() {
                std::mem::forget(payload);
            }
        }
        decode(self.shared.verdict.load(Ordering::Acquire))
    }
}

/// Waits for the verdict; `None` when the protection was cancelled first.
fn wait(watchdog: &mut Watchdog, cancel: BorrowedFd<'_>) -> io::Result<Option<Verdict>> {
    loop {
        if let Some(verdict) = watchdog.try_wait()? {
            return Ok(Some(verdict));
        }
        let mut fds = [
            watchdog.poll_fd(),
            PollFd::from_borrowed_fd(cancel, PollFlags::IN),
        ];
        poll::until(&mut fds, None)?;
        if !fds[1].revents().is_empty() {
            return Ok(None);
        }
    }
}

const fn encode(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::ParentExited => 1,
        Verdict::KeepaliveDropped => 2,
        Verdict::Released => 3,
    }
}

const fn decode(code: u8) -> Option<Verdict> {
    match code {
        1 => Some(Verdict::ParentExited),
        2 => Some(Verdict::KeepaliveDropped),
        3 => Some(Verdict::Released),
        _ => None,
    }
}
