//! Being told of exits.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::contain::{CallbackPanic, Containment, PanicHook};
use crate::poller::Poller;
use crate::registry::{Callback, Close, Registry};
use crate::shared::Shared;
use crate::sys::{ForkGeneration, Published};
use crate::thread::Dispatcher;
use crate::timers::Timers;
use crate::{Error, Exit, Process, ReapError, WatchHandle};

/// Tells when processes exit, and how: one thread and one epoll instance, for any number of them.
///
/// A clone is another name for the same watcher. It holds two descriptors, and opens none for a
/// watch; the first [time](Watcher::sleep) opens a third. At rest its thread sleeps without limit.
/// A watcher without a thread is driven by [the caller's own loop](Builder::build_driven).
///
/// # Callbacks
///
/// They run on the watcher's thread, one after the other, with all signals blocked and without any
/// lock: every call of this crate is allowed in one, cancelling itself and dropping the last
/// watcher included. One that takes long keeps the others waiting: hand the work on. A panic in one
/// ends there; see [`Builder::on_panic`].
///
/// # The last watcher
///
/// Dropping it never waits. What was to be [reaped](Watcher::watch_and_reap) still is, and its
/// callback called; the thread stays until that is done. All other callbacks are dropped unrun
/// before the drop returns, but for one that runs at that moment; futures resolve to
/// [`Error::ShutDown`]. [`shutdown`](Watcher::shutdown) also waits for the thread to end.
///
/// # Forks
///
/// A copy of a watcher in a forked child has no thread. It does nothing to the parent's, and says
/// [`Error::ForkedCopy`]; [`global`](Watcher::global) makes a new one there.
///
/// A callback may fork. Its copy should end by `_exit` or execute a program. If the callback
/// returns in the copy, the copy ends there, by `_exit` with exit code 0: it has no other thread,
/// and nothing to tell.
///
/// # References
///
/// [epoll(7)](https://man7.org/linux/man-pages/man7/epoll.7.html),
/// [pidfd_open(2)](https://man7.org/linux/man-pages/man2/pidfd_open.2.html)
#[derive(Clone)]
pub struct Watcher(pub(crate) Arc<WatcherInner>);

/// What all clones share; dropped with the last one.
pub(crate) struct WatcherInner {
    pub(crate) shared: Arc<Shared>,
    /// `None` once it was joined. Locked while somebody joins, for others to wait too.
    pub(crate) dispatcher: Mutex<Option<Dispatcher>>,
}

/// Options of a [`Watcher`].
#[derive(Default)]
pub struct Builder {
    on_panic: Option<PanicHook>,
}

impl Builder {
    /// The defaults.
    #[must_use]
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Who is told when a callback panics, or what it captured does so when it is dropped. By
    /// default a line goes to standard error. The program's own panic hook has been called before,
    /// as for any panic.
    #[must_use]
    pub fn on_panic(self, hook: impl Fn(&CallbackPanic<'_>) + Send + Sync + 'static) -> Builder {
        Builder {
            on_panic: Some(Box::new(hook)),
        }
    }

    /// Opens the two descriptors and starts the thread.
    ///
    /// # Errors
    ///
    /// - [`TooManyOpenFiles`](Error::TooManyOpenFiles) (`EMFILE`, `ENFILE`).
    /// - [`WatchLimit`](Error::WatchLimit) (`ENOSPC`).
    /// - [`PermissionDenied`](Error::PermissionDenied), [`Unsupported`](Error::Unsupported): a
    ///   seccomp filter.
    /// - [`TooManyProcesses`](Error::TooManyProcesses) (`EAGAIN`): no thread is to be had.
    /// - [`Io`](Error::Io): `ENOMEM`.
    pub fn build(self) -> Result<Watcher, Error> {
        let (shared, poller) = self.parts()?;
        let dispatcher = Dispatcher::start(Arc::clone(&shared), poller)?;
        Ok(Watcher(Arc::new(WatcherInner {
            shared,
            dispatcher: Mutex::new(Some(dispatcher)),
        })))
    }

    /// All but who dispatches. The descriptors close with what is kept of the poller.
    pub(crate) fn parts(self) -> Result<(Arc<Shared>, Arc<Poller>), Error> {
        let poller = Arc::new(Poller::new().map_err(Error::of_watch)?);
        let generation = ForkGeneration::current().map_err(Error::of_call)?;
        let shared = Arc::new(Shared {
            generation,
            registry: Registry::new(),
            timers: Timers::new(),
            poller: Arc::downgrade(&poller),
            containment: Containment::new(self.on_panic, generation),
        });
        Ok((shared, poller))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("on_panic", &self.on_panic.is_some())
            .finish()
    }
}

/// Not what it watches, which may be thousands, and no lock.
impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").finish_non_exhaustive()
    }
}

impl Watcher {
    /// A watcher of one's own, with the defaults.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    pub fn new() -> Result<Watcher, Error> {
        Builder::new().build()
    }

    /// The watcher that all of this process shares, started at the first call. It is never dropped.
    /// When it was [shut down](Watcher::shutdown), the next call starts another one.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`]; the next call tries again.
    pub fn global() -> Result<&'static Watcher, Error> {
        static GLOBAL: Published<Watcher> = Published::empty();
        match GLOBAL.latest() {
            Some(watcher) if watcher.is_usable() => Ok(watcher),
            // None yet, one that was shut down, or that of the process this one was forked from.
            other => Ok(GLOBAL.replace(other, Watcher::new()?)),
        }
    }

    /// Calls `callback` once, on the watcher's thread, when the process has exited; at once when it
    /// has already. Reaps nothing. Any number of callbacks may wait for one process; they are
    /// called in the order in which they came.
    ///
    /// The watcher holds a clone of `process` until then.
    ///
    /// # Errors
    ///
    /// The callback is dropped.
    /// - [`WatchLimit`](Error::WatchLimit) (`ENOSPC`).
    /// - [`ForkedCopy`](Error::ForkedCopy).
    /// - [`Io`](Error::Io): `ENOMEM`.
    pub fn watch(
        &self,
        process: &Process,
        callback: impl FnOnce(Exit) + Send + 'static,
    ) -> Result<WatchHandle, Error> {
        self.register(process, Box::new(callback), false)
    }

    /// Takes charge of a child: when it has exited it is reaped, and then `callback` called.
    ///
    /// The reaping does not depend on the handle nor on the watcher: neither a cancel nor the drop
    /// of the last watcher prevents it. While a tracer keeps the dead child from being reaped, the
    /// callback is called all the same, and the reaping follows when the tracer lets go.
    ///
    /// Whoever else waits for this child (std's [`Child::wait`](std::process::Child::wait), another
    /// clone's [`reap`](Process::reap)) competes for it.
    ///
    /// # Errors
    ///
    /// All give the process back; the callback is dropped.
    /// - [`NotChild`](Error::NotChild): it is not ours to reap (`ECHILD`).
    /// - As [`watch`](Watcher::watch).
    pub fn watch_and_reap(
        &self,
        process: Process,
        callback: impl FnOnce(Exit) + Send + 'static,
    ) -> Result<WatchHandle, ReapError> {
        let watched = process
            .take_charge()
            .and_then(|()| self.register(&process, Box::new(callback), true));
        watched.map_err(|error| ReapError { process, error })
    }

    // Inlined down to the system call: on CPUs that mend their return stack by software (AMD's
    // SRSO) the first return after a system call costs 0.3 us, half of what the kernel takes for
    // the call.
    #[allow(
        clippy::inline_always,
        reason = "a hint is not followed where there are several callers"
    )]
    #[inline(always)]
    fn register(
        &self,
        process: &Process,
        callback: Callback,
        reaps: bool,
    ) -> Result<WatchHandle, Error> {
        let shared = &self.0.shared;
        if !shared.generation.is_current() {
            return Err(Error::ForkedCopy);
        }
        // Gone with the thread.
        let Some(poller) = shared.poller.upgrade() else {
            return Err(Error::ShutDown);
        };
        let containment = &shared.containment;
        let watch = shared
            .registry
            .watch(process, callback, reaps, &*poller, containment)?;
        Ok(WatchHandle::new(Arc::clone(shared), watch))
    }

    /// The generation is asked first: in a copy made by fork nobody may open the registry's lock.
    fn is_usable(&self) -> bool {
        let shared = &self.0.shared;
        shared.generation.is_current() && !shared.registry.is_closed()
    }
}

impl Drop for WatcherInner {
    fn drop(&mut self) {
        // A copy has neither a right to the parent's epoll instance nor a lock that is sure to
        // open.
        if self.shared.generation.is_current() {
            // A thread that cannot be woken sleeps on, and nobody is here to be told.
            let _ = self.shared.close(Close::AndReap);
        }
        // Asked again, since what was dropped may have forked. The thread is none of a copy's: to
        // detach it there could hit another one, to which the C library has given its stack.
        if !self.shared.generation.is_current() {
            let dispatcher = self.dispatcher.get_mut();
            std::mem::forget(dispatcher.unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}
