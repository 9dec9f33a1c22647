//! Reports exits.

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

/// Reports when processes exit, and how. It has one thread and one epoll instance, for any number
/// of processes.
///
/// A clone refers to the same watcher. A watcher has two descriptors. It opens none for a watch;
/// the first [timer](Watcher::sleep) opens a third. At rest its thread sleeps without a timeout.
/// [The caller's own loop](Builder::build_driven) can drive a watcher without a thread.
///
/// # Callbacks
///
/// They run on the watcher's thread, one after the other, with all signals blocked and without any
/// lock. So a callback may make every call of this crate, even cancel itself or drop the last
/// watcher. A callback that takes long delays the others: pass long work to another thread. A panic
/// in a callback ends there; see [`Builder::on_panic`].
///
/// # The last watcher
///
/// Dropping it never waits. Children that it has to [reap](Watcher::watch_and_reap) are still
/// reaped, and their callbacks called; the thread stays until that is done. All other callbacks are
/// dropped unrun before the drop returns, except one that is running at that moment. Futures
/// resolve to [`Error::ShutDown`]. [`shutdown`](Watcher::shutdown) also waits for the thread to
/// end.
///
/// # Forks
///
/// A copy of a watcher in a forked child has no thread. It does nothing to the parent's watcher,
/// and returns [`Error::ForkedCopy`]. [`global`](Watcher::global) makes a new watcher there.
///
/// A callback may fork. The forked copy should end by `_exit` or execute a program. If the callback
/// returns in the copy, the copy ends there, by `_exit` with exit code 0: it has no other thread
/// and nothing to report.
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
    /// `None` once it was joined. It stays locked during a join, so that other callers wait too.
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

    /// Sets a function that is called when a callback panics, or when something that it captured
    /// panics on drop. By default a line is written to standard error. The program's own panic hook
    /// has been called before, as for any panic.
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
    /// - [`TooManyProcesses`](Error::TooManyProcesses) (`EAGAIN`): no thread can be started.
    /// - [`Io`](Error::Io): `ENOMEM`.
    pub fn build(self) -> Result<Watcher, Error> {
        let (shared, poller) = self.parts()?;
        let dispatcher = Dispatcher::start(Arc::clone(&shared), poller)?;
        Ok(Watcher(Arc::new(WatcherInner {
            shared,
            dispatcher: Mutex::new(Some(dispatcher)),
        })))
    }

    /// Everything but the part that dispatches. The descriptors are closed when the poller is
    /// dropped.
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

/// Does not show what it watches, which may be thousands of processes, and takes no lock.
impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").finish_non_exhaustive()
    }
}

impl Watcher {
    /// Makes a new watcher, with the defaults.
    ///
    /// # Errors
    ///
    /// As [`Builder::build`].
    pub fn new() -> Result<Watcher, Error> {
        Builder::new().build()
    }

    /// The watcher that the whole process shares. The first call starts it, and it is never
    /// dropped. If it was [shut down](Watcher::shutdown), the next call starts another one.
    ///
    /// # Errors
    ///
    /// As for [`Builder::build`]. The next call tries again.
    pub fn global() -> Result<&'static Watcher, Error> {
        static GLOBAL: Published<Watcher> = Published::empty();
        match GLOBAL.latest() {
            Some(watcher) if watcher.is_usable() => Ok(watcher),
            // None yet, or it was shut down, or it belongs to the process that this one was forked
            // from.
            other => Ok(GLOBAL.replace(other, Watcher::new()?)),
        }
    }

    /// Calls `callback` once, on the watcher's thread, when the process has exited; at once if it
    /// has exited already. Reaps nothing. Any number of callbacks may wait for one process. They
    /// are called in the order in which they were registered.
    ///
    /// The watcher holds a clone of `process` until then.
    ///
    /// # Errors
    ///
    /// If one of these is returned, the callback was dropped.
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

    /// Takes charge of a child: reaps it when it has exited, and then calls `callback`.
    ///
    /// The reap does not depend on the handle or the watcher: neither a cancel nor dropping the
    /// last watcher prevents it. If a tracer keeps the dead child from being reaped, the callback
    /// is called nevertheless, and the reap follows when the tracer lets go.
    ///
    /// Other code that waits for this child (std's [`Child::wait`](std::process::Child::wait),
    /// [`reap`](Process::reap) on a clone) competes for it.
    ///
    /// # Errors
    ///
    /// All of these return the process. The callback is dropped.
    /// - [`NotChild`](Error::NotChild): this process cannot reap it (`ECHILD`).
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

    // Inlined down to the system call. On CPUs that fix their return stack in software (AMD's
    // SRSO), the first return after a system call costs 0.3 us, half of what the kernel takes for
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
        // The poller is gone if the thread has ended.
        let Some(poller) = shared.poller.upgrade() else {
            return Err(Error::ShutDown);
        };
        let containment = &shared.containment;
        let watch = shared
            .registry
            .watch(process, callback, reaps, &*poller, containment)?;
        Ok(WatchHandle::new(Arc::clone(shared), watch))
    }

    /// The generation is checked first: in a copy made by fork the registry's lock may be held for
    /// ever.
    fn is_usable(&self) -> bool {
        let shared = &self.0.shared;
        shared.generation.is_current() && !shared.registry.is_closed()
    }
}

impl Drop for WatcherInner {
    fn drop(&mut self) {
        // A copy has no right to the parent's epoll instance, and the lock may be held there for
        // ever.
        if self.shared.generation.is_current() {
            // If the thread cannot be woken, it sleeps on, and there is nobody to report that to.
            let _ = self.shared.close(Close::AndReap);
        }
        // Checked again, because something that was dropped may have forked. The thread does not
        // exist in the copy. Detaching it there could hit another thread, to which the C library
        // has given the same stack.
        if !self.shared.generation.is_current() {
            let dispatcher = self.dispatcher.get_mut();
            std::mem::forget(dispatcher.unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}
