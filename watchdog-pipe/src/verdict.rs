//! What became of the parent.

/// What the child learns of its parent. The first verdict is final: it never changes afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum Verdict {
    /// The parent exited, was killed, or replaced itself by `execve` without a
    /// [`hand_over`](crate::Keepalive::hand_over). The child learns it in one of two ways: the
    /// sentinel died, or nobody holds the write end any more and the parent did not say why. A
    /// parent that is about to die can also say so, by [`announce_death`](crate::announce_death).
    ParentExited,
    /// The parent dropped its [`Keepalive`](crate::Keepalive): this child is to stop.
    KeepaliveDropped,
    /// The parent let go of this child by [`release`](crate::Keepalive::release): it may live on.
    Released,
}

impl Verdict {
    /// Whether a supervised process must end: true for all but [`Verdict::Released`].
    #[must_use]
    pub fn is_final(self) -> bool {
        self != Verdict::Released
    }
}
