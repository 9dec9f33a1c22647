//! Which promises hold for a link.

use bitflags::bitflags;

bitflags! {
    /// What this kernel and this link promise.
    /// [`Keepalive::guarantees`](crate::Keepalive::guarantees) tells the parent,
    /// [`Watchdog::guarantees`](crate::Watchdog::guarantees) the child. The two can differ: if the
    /// spawner passed on the pipe alone, the child has less than its parent could give.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Guarantees: u32 {
        /// The child learns of the end, whatever its cause, once nobody holds the write end any
        /// more. The pipe gives this; it works everywhere.
        const END_IS_TOLD = 1;
        /// The child learns of the parent's death before the parent's memory is torn down, however
        /// large that is. The sentinel gives this.
        const BEFORE_TEARDOWN = 1 << 1;
        /// The child learns of the parent's death even if another process holds the write end, such
        /// as a copy of the parent, made by fork, that lives on. The sentinel gives this.
        const WHOEVER_HOLDS_THE_PIPE = 1 << 2;
    }
}

impl Guarantees {
    /// Those of a link with a sentinel, or without one.
    pub(crate) const fn of(sentinel: bool) -> Guarantees {
        if sentinel {
            Guarantees::all()
        } else {
            Guarantees::END_IS_TOLD
        }
    }
}
