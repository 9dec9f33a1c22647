//! The threads that act on the verdict.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};

use crate::home::Home;
use crate::sentinel::{Listener, Lookout};
use crate::sys::BlockedSignals;
use crate::{Guarantees, StopPolicy, Verdict, Watchdog, poll, stop};

/// What is done with a verdict. The descriptor is readable once the protection was cancelled.
type Act = Box<dyn FnOnce(Verdict, BorrowedFd<'_>) + Send>;

/// A running protection. Dropping it leaves the protection on. A copy made by fork is inert.
///
/// One thread waits for the pipe and, where the parent has a sentinel, another sleeps on its word. Whichever learns first
/// acts, with no other thread to be woken in between.
#[derive(Debug)]
pub struct Monitor {
    thread: JoinHandle<()>,
    listener: Option<ThreadId>,
    shared: Arc<Shared>,
    home: Home,
}

/// What the handle and the threads hold.
struct Shared {
    /// Readable once the protection was cancelled, or is over.
    cancel: OwnedFd,
    /// The verdict as [`encode`] puts it; 0 before there is one.
    verdict: AtomicU8,
    watch: Mutex<Watch>,
}

struct Watch {
    watchdog: Watchdog,
    act: Option<Act>,
}

/// What came of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looked {
    NoVerdict,
    HasActed,
    /// The other thread does, or has.
    OthersAct,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = decode(self.verdict.load(Ordering::Acquire));
        f.debug_struct("Shared")
            .field("verdict", &verdict)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks, and acts if nobody has yet. Inlined, with what it calls: one function has fewer pages that can be cold
    /// when the parent dies.
    #[inline]
    fn look(&self) -> io::Result<Looked> {
        let mut watch = self.lock();
        let Some(verdict) = watch.watchdog.try_wait()? else {
            return Ok(Looked::NoVerdict);
        };
        let Some(act) = watch.act.take() else {
            return Ok(Looked::OthersAct);
        };
        drop(watch);
        self.verdict.store(encode(verdict), Ordering::Release);
        act(verdict, self.cancel.as_fd());
        Ok(Looked::HasActed)
    }

    fn end(&self) {
        // The counter goes up by one, twice at most: neither EAGAIN nor EINTR can come of that.
        let _ = rustix::io::write(&self.cancel, &1_u64.to_ne_bytes());
    }
}

impl Monitor {
    pub(crate) fn enforce(watchdog: Watchdog, policy: StopPolicy) -> io::Result<Monitor> {
        let act: Act = Box::new(move |verdict, cancel| {
            if verdict.is_final() {
                stop::this_process(policy, cancel);
            }
        });
        let thread = || thread::Builder::new().stack_size(Listener::STACK);
        Monitor::start(watchdog, policy, thread, act)
    }

    pub(crate) fn on_verdict(
        watchdog: Watchdog,
        callback: impl FnOnce(Verdict) + Send + 'static,
    ) -> io::Result<Monitor> {
        let policy = watchdog.stop_policy().unwrap_or_default();
        let act: Act = Box::new(move |verdict, cancel| {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| callback(verdict))) {
                // A payload may panic in its own drop.
                std::mem::forget(payload);
                if verdict.is_final() {
                    stop::this_process(policy, cancel);
                }
            }
        });
        // A callback of the caller's gets a stack of the standard size.
        Monitor::start(watchdog, policy, thread::Builder::new, act)
    }

    fn start(
        mut watchdog: Watchdog,
        policy: StopPolicy,
        thread: fn() -> thread::Builder,
        act: Act,
    ) -> io::Result<Monitor> {
        let home = Home::here()?;
        let cancel = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let (pipe, lookout) = (watchdog.pipe(), watchdog.lookout());
        let act = Some(act);
        let shared = Arc::new(Shared {
            cancel,
            verdict: AtomicU8::new(0),
            watch: Mutex::new(Watch { watchdog, act }),
        });
        let listener = lookout.and_then(|lookout| listen(&shared, lookout, thread()).ok());
        let listens = listener.as_ref().and_then(Listener::thread);
        let theirs = Arc::clone(&shared);
        // The thread inherits the mask: at no instant can it run a handler of the program's.
        let _blocked = BlockedSignals::all()?;
        let thread = thread().name("watchdog".into()).spawn(move || {
            // The link is lost, which is no verdict: see `Watchdog::enforce`.
            if wait(&theirs, &pipe).is_err() {
                stop::this_process(policy, theirs.cancel.as_fd());
            }
            drop(listener);
            // Here, where a panic in the drop of its captures is nobody's.
            let unused = theirs.lock().act.take();
            drop(unused);
        })?;
        Ok(Monitor {
            thread,
            listener: listens,
            shared,
            home,
        })
    }

    /// What this process is promised of its parent.
    #[must_use]
    pub fn guarantees(&self) -> Guarantees {
        // The lock may have been held when a copy was made.
        if self.listener.is_some() && self.home.is_here() {
            self.shared.lock().watchdog.guarantees()
        } else {
            Guarantees::of(false)
        }
    }

    /// Ends the protection, the grace period of a stop that has begun included, and waits for its threads
    /// to end; inside the callback of [`Watchdog::on_verdict`] it does not wait. The verdict, if one came
    /// before. In a copy made by fork it ends nothing: the protection is the original's.
    #[allow(clippy::must_use_candidate, reason = "the verdict is a by-product")]
    pub fn cancel(self) -> Option<Verdict> {
        if !self.home.is_here() {
            // The eventfd is shared with the original, and there is no thread here to wait for.
            std::mem::forget(self.thread);
            return decode(self.shared.verdict.load(Ordering::Acquire));
        }
        self.shared.end();
        let here = thread::current().id();
        if here != self.thread.thread().id() && Some(here) != self.listener {
            // An Err is a panic in the drop of the callback's captures: the thread has ended all the same.
            if let Err(payload) = self.thread.join() {
                std::mem::forget(payload);
            }
        }
        decode(self.shared.verdict.load(Ordering::Acquire))
    }
}

/// The thread that sleeps on the sentinel's word.
fn listen(
    shared: &Arc<Shared>,
    lookout: Arc<Lookout>,
    thread: thread::Builder,
) -> io::Result<Listener> {
    let theirs = Arc::clone(shared);
    Listener::start(lookout, thread.name("watchdog-listen".into()), move || {
        // An error is the pipe's, and the other thread's to deal with. If that one acts, it is not to be cancelled.
        if let Ok(Looked::HasActed) = theirs.look() {
            theirs.end();
        }
    })
}

/// Waits for the pipe, until there is a verdict or the protection is over.
fn wait(shared: &Shared, pipe: &OwnedFd) -> io::Result<()> {
    while shared.look()? == Looked::NoVerdict {
        let mut fds = [
            PollFd::new(pipe, PollFlags::IN),
            PollFd::new(&shared.cancel, PollFlags::IN),
        ];
        poll::until(&mut fds, None)?;
        if !fds[1].revents().is_empty() {
            break;
        }
    }
    Ok(())
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
