//! The result of a cancel.

/// What became of a callback that was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Cancelled {
    /// It has not run and never will. Its captures are dropped.
    Prevented,
    /// It has run to its end. Its captures are dropped.
    AlreadyRan,
    /// It is in progress: running, or being dropped unrun because the watcher is shut down. Only a
    /// thread that must not wait gets this result: a dispatch thread, and a thread that is dropping
    /// or shutting down the watcher.
    Running,
}
