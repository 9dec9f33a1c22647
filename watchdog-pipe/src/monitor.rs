//! The threads that act on the verdict.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cancel::Cancel;
use crate::reserve::{Own, Reserve};
use crate::sentinel::{Listener, ListenerStatus, SlotObserver};
use crate::status::Extras;
use crate::sys::ForkGeneration;
use crate::thread::{Start, Thread};
use crate::{Guarantees, StopPolicy, Verdict, Watchdog, events, payload, poll, stop};

/// What is done with a verdict.
type Act = Box<dyn FnOnce(Verdict, &Protection) + Send>;

/// Stack of a thread that runs a callback of the caller's: as std gives.
const CALLBACK_STACK: usize = 2 * 1024 * 1024;

/// How often the pipe is looked at where nobody can wait for it.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A running protection. Dropping it leaves the protection on. A copy made by fork is inert.
///
/// One thread waits for the pipe and, where the parent has a sentinel, another sleeps on its word.
/// Whichever learns first acts, with no other thread to be woken in between.
#[derive(Debug)]
pub struct Monitor {
    thread: Thread,
    listener: Option<ListenerStatus>,
    shared: Arc<Protection>,
    generation: ForkGeneration,
}

/// What the handle and the threads hold.
struct Protection {
    cancel: Cancel,
    own: Own,
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

thread_local! {
    /// The protection that this thread belongs to.
    static SERVES: Cell<*const Protection> = const { Cell::new(ptr::null()) };
}

impl fmt::Debug for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As in `cancel`; nothing is read here but the word itself.
        let verdict = decode(self.verdict.load(Ordering::Acquire));
        f.debug_struct("Protection")
            .field("verdict", &verdict)
            .finish_non_exhaustive()
    }
}

impl Protection {
    fn lock(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks, and acts if nobody has yet. Inlined, with what it calls: one function has fewer pages
    /// that can be cold when the parent dies.
    #[inline]
    fn look(&self) -> io::Result<Looked> {
        let mut watch = self.lock();
        let Some(verdict) = watch.watchdog.verdict_by_now()? else {
            return Ok(Looked::NoVerdict);
        };
        let Some(act) = watch.act.take() else {
            return Ok(Looked::OthersAct);
        };
        drop(watch);
        // Release, for the Acquire in `cancel`, which may look while the act goes on: reading the
        // pipe, and whatever else led to the verdict, happens before the verdict is seen.
        self.verdict.store(encode(verdict), Ordering::Release);
        act(verdict, self);
        Ok(Looked::HasActed)
    }

    fn stop(&self, policy: StopPolicy) {
        stop::this_process(&self.own, policy, &self.cancel);
    }

    /// Nobody acts any more who has not begun to. What the callback has captured may panic when it
    /// is dropped.
    fn disarm(&self) {
        let unused = self.lock().act.take();
        if let Err(panicked) = catch_unwind(AssertUnwindSafe(|| drop(unused))) {
            payload::discard(panicked);
        }
    }

    /// In a thread of the protection, first.
    fn is_served_here(&self) -> bool {
        SERVES.get() == ptr::from_ref(self)
    }

    fn serve(&self) {
        SERVES.set(ptr::from_ref(self));
    }
}

impl Monitor {
    pub(crate) fn enforce(watchdog: Watchdog, policy: StopPolicy) -> io::Result<Monitor> {
        // No event: a subscriber that blocks would keep this process alive.
        let act: Act = Box::new(move |verdict, shared| {
            if verdict.is_final() {
                shared.stop(policy);
            }
        });
        Monitor::start(watchdog, policy, Listener::STACK, act)
    }

    pub(crate) fn on_verdict(
        watchdog: Watchdog,
        callback: impl FnOnce(Verdict) + Send + 'static,
    ) -> io::Result<Monitor> {
        let policy = watchdog.stop_policy().unwrap_or_default();
        let act: Act = Box::new(move |verdict, shared| {
            events::verdict(verdict);
            if let Err(panicked) = catch_unwind(AssertUnwindSafe(|| callback(verdict))) {
                payload::discard(panicked);
                if verdict.is_final() {
                    shared.stop(policy);
                }
            }
        });
        Monitor::start(watchdog, policy, CALLBACK_STACK, act)
    }

    /// The pipe's thread comes first: where there is room for one alone, it is the one that
    /// matters.
    fn start(
        mut watchdog: Watchdog,
        policy: StopPolicy,
        stack: usize,
        act: Act,
    ) -> io::Result<Monitor> {
        let reserve = watchdog.take_reserve().map_or_else(Reserve::take, Ok)?;
        let reserve = reserve.of_this_process()?;
        let extras = reserve.extras();
        let (generation, cancel, own) = reserve.divide()?;
        let (pipe, observer) = (watchdog.pipe(), watchdog.observer());
        let act = Some(act);
        let shared = Arc::new(Protection {
            cancel,
            own,
            verdict: AtomicU8::new(0),
            watch: Mutex::new(Watch { watchdog, act }),
        });
        let theirs = Arc::clone(&shared);
        let (hand, listener) = sync_channel::<Option<Listener>>(1);
        let start = Start {
            name: c"watchdog",
            stack,
            slice: None,
            extras,
        };
        let thread = Thread::begin(start, generation, move || {
            theirs.serve();
            let over = wait(&theirs, &pipe);
            if over.is_err() {
                // The link is lost, which is no verdict: see `Watchdog::enforce`.
                theirs.stop(policy);
            }
            if !matches!(over, Ok(Looked::OthersAct)) {
                // The listener is not needed any more. The only one who polls is here.
                let _ = theirs.cancel.set_for_sleepers();
            }
            // If that one acts, this waits for it. Where it is still being started, for that too.
            drop(listener.recv());
            theirs.disarm();
        })?;
        let listen = |observer| listen(&shared, observer, stack, extras).ok();
        let listener = observer.and_then(listen);
        let status = listener.as_ref().map(Listener::status);
        // Both start at the same time. An error lets go of the listener.
        let thread = thread.wait()?;
        // There is room for it, and it is taken: there is no error.
        let _ = hand.send(listener);
        Ok(Monitor {
            thread,
            listener: status,
            shared,
            generation,
        })
    }

    /// What this process is promised of its parent.
    #[must_use]
    pub fn guarantees(&self) -> Guarantees {
        // The lock may have been held when a copy was made.
        if self.generation.is_current()
            && self
                .listener
                .as_ref()
                .is_some_and(ListenerStatus::is_listening)
        {
            self.shared.lock().watchdog.guarantees()
        } else {
            Guarantees::of(false)
        }
    }

    /// Ends the protection, the grace period of a stop that has begun included, and waits for its
    /// threads to end; inside the callback of [`Watchdog::on_verdict`] it does not wait. The
    /// verdict, if one came before. In a copy made by fork it ends nothing: the protection is the
    /// original's.
    #[allow(clippy::must_use_candidate, reason = "the verdict is a by-product")]
    pub fn cancel(self) -> Option<Verdict> {
        // The eventfd is shared with the original, and a copy has no thread to wait for.
        if self.generation.is_current() {
            let woken = self.shared.cancel.set();
            if self.shared.is_served_here() {
                // It ends by itself.
            } else if woken.is_ok() {
                self.thread.join();
            } else {
                // Its threads sleep on, to no effect: a filter refuses what would wake them.
                self.shared.disarm();
            }
        }
        // Acquire, for the Release in `look`.
        decode(self.shared.verdict.load(Ordering::Acquire))
    }
}

/// The thread that sleeps on the sentinel's word.
fn listen(
    shared: &Arc<Protection>,
    observer: Arc<SlotObserver>,
    stack: usize,
    extras: Extras,
) -> io::Result<Listener> {
    let theirs = Arc::clone(shared);
    Listener::start(observer, stack, extras, move || {
        theirs.serve();
        // An error is the pipe's, and the other thread's to deal with. If that one acts, it is not
        // to be cancelled.
        if let Ok(Looked::HasActed) = theirs.look() {
            let _ = theirs.cancel.set();
        } else {
            // A filter need not allow a thread to end while the other one acts.
            let _ = theirs.cancel.sleeps(Duration::MAX);
        }
    })
}

/// Waits for the pipe, until there is a verdict or the protection is over.
fn wait(shared: &Protection, pipe: &OwnedFd) -> io::Result<Looked> {
    let mut by_the_clock = false;
    loop {
        if shared.cancel.is_set() {
            return Ok(Looked::NoVerdict);
        }
        let looked = shared.look()?;
        if looked != Looked::NoVerdict {
            return Ok(looked);
        }
        if by_the_clock {
            shared.cancel.sleeps(LOOK_EVERY)?;
        } else if let Err(error) = poll::until([pipe.as_fd(), shared.cancel.as_fd()], None) {
            if error.raw_os_error() == Some(libc::EBADF) {
                return Err(error);
            }
            // A filter, or RLIMIT_NOFILE below two. It is not asked again: what failed once fails
            // for ever.
            by_the_clock = true;
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
