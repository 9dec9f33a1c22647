//! The spans and events of this crate, for subscribers of the `tracing` crate. Without the feature
//! `tracing` every function here is empty.
//!
//! An event comes after the action that it reports. Code that runs in a child before its exec must
//! not call this module.

#![cfg_attr(
    not(feature = "tracing"),
    allow(dead_code, unused_variables, clippy::unused_self)
)]

use std::io;
use std::path::Path;

use pidfd_watcher::Pid;
use watchdog_pipe::StopPolicy;

use crate::{
    AdoptError, Engine, ShimSpawner, SpawnError, StopError, StopReport, StopTarget, Tally,
};

#[cfg(feature = "tracing")]
const TARGET: &str = "shim_spawner";

macro_rules! tell {
    ($level:ident, $($event:tt)*) => {
        #[cfg(feature = "tracing")]
        contain(|| tracing::$level!(target: TARGET, $($event)*));
    };
}

/// The level is that of errors, so that no level filter that passes an event hides its span.
macro_rules! span {
    ($($fields:tt)*) => {
        Span {
            #[cfg(feature = "tracing")]
            span: contain(|| tracing::error_span!(target: TARGET, $($fields)*))
                .unwrap_or_else(tracing::Span::none),
        }
    };
}

/// Stops a panic of the subscriber here, so that it changes nothing for the caller. The payload is
/// leaked, because its drop may panic again.
#[cfg(feature = "tracing")]
fn contain<T>(tell: impl FnOnce() -> T) -> Option<T> {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    catch_unwind(AssertUnwindSafe(tell))
        .map_err(std::mem::forget)
        .ok()
}

#[cfg(feature = "tracing")]
fn as_dyn<'a>(
    error: &'a (impl std::error::Error + 'static),
) -> &'a (dyn std::error::Error + 'static) {
    error
}

#[cfg(feature = "tracing")]
fn raw(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

/// The numbers of some processes. A list for one line of a log: a long one is cut.
#[cfg(feature = "tracing")]
struct Pids<'a>(&'a [Pid]);

#[cfg(feature = "tracing")]
impl std::fmt::Debug for Pids<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const MOST: usize = 16;
        let numbers = self.0.iter().take(MOST).map(|pid| raw(*pid));
        f.debug_list().entries(numbers).finish()
    }
}

/// A span. It is closed when it is dropped.
#[derive(Debug)]
struct Span {
    #[cfg(feature = "tracing")]
    span: tracing::Span,
}

impl Drop for Span {
    fn drop(&mut self) {
        #[cfg(feature = "tracing")]
        contain(|| drop(std::mem::replace(&mut self.span, tracing::Span::none())));
    }
}

/// The span of a spawn. It contains all events of this thread until it is dropped.
#[derive(Debug)]
pub(crate) struct Spawn {
    span: Span,
}

impl Spawn {
    #[inline]
    pub(crate) fn begin(program: &Path, engine: Engine) -> Spawn {
        let span = span!("spawn", program = %program.display(), ?engine);
        // Not `Span::enter`: its guard would call the subscriber again while a panic of the
        // subscriber unwinds, and a second panic would abort the process.
        #[cfg(feature = "tracing")]
        contain(|| {
            span.span
                .with_subscriber(|(id, subscriber)| subscriber.enter(id))
        });
        Spawn { span }
    }
}

impl Drop for Spawn {
    fn drop(&mut self) {
        #[cfg(feature = "tracing")]
        contain(|| {
            let span = &self.span.span;
            span.with_subscriber(|(id, subscriber)| subscriber.exit(id))
        });
    }
}

/// Everything that the child needs is made. The child does not exist yet.
#[inline]
pub(crate) fn prepared(spawner: &ShimSpawner) {
    tell!(
        debug,
        attached = !spawner.detached,
        supervised = spawner.supervisor.is_some(),
        config = spawner.config.is_some(),
        identity_file = spawner.identity_file.is_some(),
        fds = spawner.fds.len() + spawner.listen.len(),
        "prepared"
    );
}

/// The child executed the program, or that of the supervisor.
#[inline]
pub(crate) fn started(pid: Pid) {
    tell!(debug, pid = raw(pid), "started");
}

/// The supervisor reports that the program was executed.
#[inline]
pub(crate) fn executed(pid: Pid) {
    tell!(debug, pid = raw(pid), "program executed");
}

#[inline]
pub(crate) fn spawned(pid: Pid, attached: bool) {
    tell!(info, pid = raw(pid), attached, "spawned");
}

#[inline]
pub(crate) fn not_spawned(error: &SpawnError) {
    tell!(
        warn,
        stage = ?error.stage(),
        errno = error.raw_os_error(),
        error = as_dyn(error),
        "not spawned"
    );
}

/// The span of a stop. Several threads can work on one stop, one after the other.
#[derive(Debug)]
pub(crate) struct Stop {
    span: Span,
}

impl Stop {
    #[inline]
    pub(crate) fn begin(pid: Pid, target: StopTarget) -> Stop {
        let span = span!("stop", pid = raw(pid), target = target.word());
        Stop { span }
    }

    /// The stop signal was sent to the target.
    #[inline]
    pub(crate) fn signalled(&self, policy: StopPolicy) {
        tell!(
            debug,
            parent: &self.span.span,
            signal = policy.stop_signal().as_raw(),
            grace = ?policy.grace_period(),
            "signalled"
        );
    }

    /// The grace period is over, and SIGKILL was sent to these.
    #[inline]
    pub(crate) fn grace_over(&self, killed: &Tally) {
        tell!(
            warn,
            parent: &self.span.span,
            killed = killed.count(),
            pids = ?Pids(killed.pids()),
            "grace over"
        );
    }

    #[inline]
    pub(crate) fn stopped(&self, report: &StopReport) {
        tell!(
            info,
            parent: &self.span.span,
            status = report.exit().status.map(tracing::field::display),
            killed = report.killed().count(),
            left = report.left().count(),
            "stopped"
        );
    }

    #[inline]
    pub(crate) fn failed(&self, error: &StopError) {
        tell!(warn, parent: &self.span.span, error = as_dyn(error), "not stopped");
    }
}

/// An identity led to its process.
#[inline]
pub(crate) fn adopted(pid: Pid) {
    tell!(info, pid = raw(pid), "adopted");
}

#[inline]
pub(crate) fn not_adopted(pid: Pid, error: &AdoptError) {
    tell!(warn, pid = raw(pid), error = as_dyn(error), "not adopted");
}

/// The shim lives on by itself.
#[inline]
pub(crate) fn released(pid: Pid) {
    tell!(info, pid = raw(pid), "released");
}

#[inline]
pub(crate) fn not_released(pid: Pid, error: &io::Error) {
    tell!(warn, pid = raw(pid), error = as_dyn(error), "not released");
}

/// The handler of an attached shim was dropped.
#[inline]
pub(crate) fn dropped(pid: Pid) {
    tell!(info, pid = raw(pid), "handler dropped");
}
