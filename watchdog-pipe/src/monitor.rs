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

/// What to do with a verdict.
type Act = Box<dyn FnOnce(Verdict, &Protection) + Send>;

/// Stack size of a thread that runs the caller's callback: the same as std's default.
const CALLBACK_STACK: usize = 2 * 1024 * 1024;

/// How often to look at the pipe if poll(2) is refused.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A running protection. Dropping this value leaves the protection on. A copy made by fork is
/// inert.
///
/// One thread waits for the pipe. If the parent has a sentinel, another thread sleeps on its word.
/// The thread that learns the verdict first acts on it, so no other thread has to be woken in
/// between.
#[derive(Debug)]
pub struct Monitor {
    thread: Thread,
    listener: Option<ListenerStatus>,
    shared: Arc<Protection>,
    generation: ForkGeneration,
}

/// What the handle and the threads share.
struct Protection {
    cancel: Cancel,
    own: Own,
    /// The verdict as [`encode`] encodes it; 0 before there is one.
    verdict: AtomicU8,
    watch: Mutex<Watch>,
}

struct Watch {
    watchdog: Watchdog,
    act: Option<Act>,
}

/// The result of a look at the watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looked {
    NoVerdict,
    HasActed,
    /// The other thread acts, or has acted.
    OthersAct,
}

thread_local! {
    /// The protection that this thread belongs to.
    static SERVES: Cell<*const Protection> = const { Cell::new(ptr::null()) };
}

impl fmt::Debug for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Acquire as in `cancel`, though only the word itself is read here.
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

    /// Looks, and acts if no other thread has acted yet. Inlined, with the functions it calls: one
    /// function is on fewer pages that can be cold when the parent dies.
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
        // Release: pairs with the Acquire in `cancel`, which may look while `act` still runs.
        // Reading the pipe, and everything else that led to the verdict, happens before the verdict
        // is seen.
        self.verdict.store(encode(verdict), Ordering::Release);
        act(verdict, self);
        Ok(Looked::HasActed)
    }

    fn stop(&self, policy: StopPolicy) {
        stop::this_process(&self.own, policy, &self.cancel);
    }

    /// After this, no thread can start to act any more. What the callback has captured may panic
    /// when it is dropped.
    fn disarm(&self) {
        let unused = self.lock().act.take();
        if let Err(panicked) = catch_unwind(AssertUnwindSafe(|| drop(unused))) {
            payload::discard(panicked);
        }
    }

    /// Whether the calling thread is one of this protection's threads.
    fn is_served_here(&self) -> bool {
        SERVES.get() == ptr::from_ref(self)
    }

    fn serve(&self) {
        SERVES.set(ptr::from_ref(self));
    }
}

impl Monitor {
    pub(crate) fn enforce(watchdog: Watchdog, policy: StopPolicy) -> io::Result<Monitor> {
        // No event here: a subscriber that blocks would keep this process alive.
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

    /// Starts the pipe's thread first: if there is room for only one thread, it must be that one.
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
                // The link is lost. That is no verdict: see `Watchdog::enforce`.
                theirs.stop(policy);
            }
            if !matches!(over, Ok(Looked::OthersAct)) {
                // The listener is not needed any more. It does not poll; only this thread does.
                let _ = theirs.cancel.set_for_sleepers();
            }
            // If the listener acts, this waits for it. If it is still being started, this waits for
            // that too.
            drop(listener.recv());
            theirs.disarm();
        })?;
        let listen = |observer| listen(&shared, observer, stack, extras).ok();
        let listener = observer.and_then(listen);
        let status = listener.as_ref().map(Listener::status);
        // Both threads start at the same time. An error drops the listener.
        let thread = thread.wait()?;
        // The channel has room for one, and the thread takes it, so this cannot fail.
        let _ = hand.send(listener);
        Ok(Monitor {
            thread,
            listener: status,
            shared,
            generation,
        })
    }

    /// What this process can rely on to learn of its parent's end.
    #[must_use]
    pub fn guarantees(&self) -> Guarantees {
        // Asked before the lock is taken: in a copy made by fork, it may be locked for ever.
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

    /// Ends the protection and waits for its threads to end. A grace period that has begun ends
    /// too. Inside the callback of [`Watchdog::on_verdict`] it does not wait. Returns the verdict,
    /// if there was one before. In a copy made by fork it ends nothing: the protection belongs to
    /// the original.
    #[allow(clippy::must_use_candidate, reason = "the verdict is a by-product")]
    pub fn cancel(self) -> Option<Verdict> {
        // In a copy made by fork, the eventfd is shared with the original, and there is no thread
        // to wait for.
        if self.generation.is_current() {
            let woken = self.shared.cancel.set();
            if self.shared.is_served_here() {
                // This thread is one of the protection's, and ends by itself.
            } else if woken.is_ok() {
                self.thread.join();
            } else {
                // A filter refuses the calls that would wake the threads. They sleep on, but do
                // nothing more.
                self.shared.disarm();
            }
        }
        // Acquire: pairs with the Release in `look`.
        decode(self.shared.verdict.load(Ordering::Acquire))
    }
}

/// Starts the thread that sleeps on the sentinel's word.
fn listen(
    shared: &Arc<Protection>,
    observer: Arc<SlotObserver>,
    stack: usize,
    extras: Extras,
) -> io::Result<Listener> {
    let theirs = Arc::clone(shared);
    Listener::start(observer, stack, extras, move || {
        theirs.serve();
        // An error concerns the pipe, and the pipe's thread handles it. If that thread acts, it
        // must not be cancelled.
        if let Ok(Looked::HasActed) = theirs.look() {
            let _ = theirs.cancel.set();
        } else {
            // A filter need not allow this thread to end while the pipe's thread acts.
            let _ = theirs.cancel.sleeps(Duration::MAX);
        }
    })
}

/// Waits for the pipe until there is a verdict or the protection is over.
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
            // A filter refuses poll(2), or RLIMIT_NOFILE is below two. Do not try again: a call
            // that failed once for this reason will always fail.
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
