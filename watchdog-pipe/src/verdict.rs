//! What became of the parent.

/// What the child is told. The first verdict is the only one: it never changes afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum Verdict {
    /// The parent exited, was killed, or replaced itself by `execve` without a
    /// [`hand_over`](crate::Keepalive::hand_over): its sentinel died, or nobody holds the write end
    /// any more and nobody said why. Or it is about to die, and said so by
    /// [`announce_death`](crate::announce_death).
    ParentExited,
    /// The parent dropped its [`Keepalive`](crate::Keepalive): it wants this child gone.
    KeepaliveDropped,
    /// The parent let go of this child by [`release`](crate::Keepalive::release): live on.
    Released,
}

impl Verdict {
    /// Whether a supervised process is to end: everything but [`Verdict::Released`].
    #[must_use]
    pub fn is_final(self) -> bool {
        self != Verdict::Released
    }
}
