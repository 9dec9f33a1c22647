//! Descriptors that no plan names.

/// What happens at the exec to descriptors from 3 up that no plan names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OtherFds {
    /// All of them are closed, whether or not whoever opened them asked for that. They are marked
    /// in the child, never closed before the exec: a closed error socket would make a failed exec
    /// look like a success.
    #[default]
    CloseOnExec,
    /// Each one follows its own `FD_CLOEXEC`, as without this crate.
    Inherit,
}
