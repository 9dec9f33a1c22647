//! What a cancel answers.

/// What became of a callback that was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Cancelled {
    /// It has not run and never will; what it captured is dropped.
    Prevented,
    /// It has run to its end, and what it captured is dropped.
    AlreadyRan,
    /// It is in progress: running, or being dropped unrun because the watcher is shut down. Only a
    /// thread that must not wait is told so: a dispatch thread, and the one that drops or shuts
    /// down the watcher.
    Running,
}
