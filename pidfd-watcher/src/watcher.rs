//! Being told of exits.

use std::fmt;
use std::sync::{Arc, Weak};

use crate::contain::{CallbackPanic, Containment, Hook};
use crate::home::Home;
use crate::poller::Poller;
use crate::registry::{Callback, Registry};
use crate::sys::Published;
use crate::{Error, Exit, ExitFuture, Process, ReapError, WatchHandle, thread};

/// Tells when processes exit, and how: one thread and one epoll instance, for any number of them.
///
/// A clone is another name for the same watcher. It holds two descriptors, and opens none for a watch. At rest its
/// thread sleeps without limit.
///
/// # Callbacks
///
/// They run on the watcher's thread, one after the other, with all signals blocked and without any lock: every call of
/// this crate is allowed in one, cancelling itself and dropping the last watcher included. One that takes long keeps
/// the others waiting: hand the work on. A panic in one ends there; see [`Builder::on_panic`].
///
/// # The last watcher
///
/// Dropping it never waits. What was to be [reaped](Watcher::watch_and_reap) still is, and its callback called; the
/// thread stays until that is done. All other callbacks are dropped unrun before the drop returns, but for one that
/// runs at that moment; futures resolve to [`Error::ShutDown`].
///
/// # Forks
///
/// A copy of a watcher in a forked child has no thread. It does nothing to the parent's, and says
/// [`Error::ForkedCopy`]; [`global`](Watcher::global) makes a new one there.
///
/// # References
///
/// [epoll(7)](https://man7.org/linux/man-pages/man7/epoll.7.html),
/// [pidfd_open(2)](https://man7.org/linux/man-pages/man2/pidfd_open.2.html)
#[derive(Clone, Debug)]
pub struct Watcher(Arc<Last>);

/// What all clones share; dropped with the last one.
#[derive(Debug)]
struct Last {
    shared: Arc<Shared>,
    poller: Arc<Poller>,
}

/// What the watchers, the handles and the thread share. The descriptors are not among it: a handle that is kept
/// must not keep them open.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) home: Home,
    pub(crate) registry: Registry<Process>,
    pub(crate) poller: Weak<Poller>,
    pub(crate) containment: Containment,
}

/// Options of a [`Watcher`].
#[derive(Default)]
pub struct Builder {
    on_panic: Option<Hook>,
}

impl Builder {
    /// The defaults.
    #[must_use]
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Who is told when a callback panics, or what it captured does so when it is dropped. By default a line goes to
    /// standard error. The program's own panic hook has been called before, as for any panic.
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
    /// - [`PermissionDenied`](Error::PermissionDenied), [`Unsupported`](Error::Unsupported): a seccomp filter.
    /// - [`TooManyProcesses`](Error::TooManyProcesses) (`EAGAIN`): no thread is to be had.
    /// - [`Io`](Error::Io): `ENOMEM`.
    pub fn build(self) -> Result<Watcher, Error> {
        let poller = Arc::new(Poller::new().map_err(Error::of_watch)?);
        let shared = Arc::new(Shared {
            home: Home::here().map_err(Error::of_call)?,
            registry: Registry::new(),
            poller: Arc::downgrade(&poller),
            containment: Containment::new(self.on_panic),
        });
        thread::start(Arc::clone(&shared), Arc::clone(&poller))?;
        Ok(Watcher(Arc::new(Last { shared, poller })))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("on_panic", &self.on_panic.is_some())
            .finish()
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
    ///
    /// # Errors
    ///
    /// As [`Builder::build`]; the next call tries again.
    pub fn global() -> Result<&'static Watcher, Error> {
        static GLOBAL: Published<Watcher> = Published::new();
        let standing = GLOBAL.get();
        match standing {
            Some(watcher) if watcher.shared().home.is_here() => Ok(watcher),
            // None yet, or that of the process this one was forked from.
            _ => Ok(GLOBAL.replace(standing, Watcher::new()?).0),
        }
    }

    /// Calls `callback` once, on the watcher's thread, when the process has exited; at once when it has already.
    /// Reaps nothing. Any number of callbacks may wait for one process; they are called in the order in which they came.
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

    /// The exit of a process as a future, for any executor. It is watched from this call on, polled or not.
    ///
    /// An error to watch is the future's output.
    pub fn exited(&self, process: &Process) -> ExitFuture {
        ExitFuture::new(self, process)
    }

    /// Takes charge of a child: when it has exited it is reaped, and then `callback` called.
    ///
    /// The reaping does not depend on the handle nor on the watcher: neither a cancel nor the drop of the last watcher
    /// prevents it. While a tracer keeps the dead child from being reaped, the callback is called all the same, and
    /// the reaping follows when the tracer lets go.
    ///
    /// Whoever else waits for this child (std's [`Child::wait`](std::process::Child::wait), another clone's
    /// [`reap`](Process::reap)) competes for it.
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

    // Inlined down to the system call: on CPUs that mend their return stack by software (AMD's SRSO) the first return
    // after a system call costs 0.3 us, half of what the kernel takes for the call.
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
        let Last { shared, poller } = &*self.0;
        if !shared.home.is_here() {
            return Err(Error::ForkedCopy);
        }
        let containment = &shared.containment;
        let watch = shared
            .registry
            .watch(process, callback, reaps, &**poller, containment)?;
        Ok(WatchHandle::new(Arc::clone(shared), watch))
    }

    fn shared(&self) -> &Shared {
        &self.0.shared
    }
}

impl Drop for Last {
    fn drop(&mut self) {
        // A copy has neither a right to the parent's epoll instance nor a lock that is sure to open.
        if !self.shared.home.is_here() {
            return;
        }
        let Last { shared, poller } = self;
        // What is dropped may cancel what is about to be dropped, by this very thread.
        thread::without_waiting(|| {
            shared.registry.close(&**poller, &shared.containment);
        });
        poller.wake();
    }
}
