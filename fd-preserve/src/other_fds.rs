//! Descriptors that the plan does not name.

/// What happens at the exec to descriptors from 3 up that the plan does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OtherFds {
    /// All of them are closed, even those opened without close-on-exec. They are marked in the
    /// child, and never closed before the exec: a closed error socket would make a failed exec look
    /// like a success.
    #[default]
    CloseOnExec,
    /// Each follows its own `FD_CLOEXEC` flag, as without this crate.
    Inherit,
}
