//! What a runtime can do wrong, so that a test sees it found.

/// In what it spawns without a supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Loss {
    /// The shims do not listen to their watchdogs.
    Deaf,
    /// The shims get a file that is not theirs.
    Descriptor,
    /// The identity files are cut short.
    Identity,
}
