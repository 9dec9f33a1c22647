//! Which promises hold.

use bitflags::bitflags;

bitflags! {
    /// What this kernel and this link give: [`Keepalive::guarantees`](crate::Keepalive::guarantees)
    /// on the parent's side, [`Watchdog::guarantees`](crate::Watchdog::guarantees) on the child's.
    /// The two can differ: a child whose spawner passed the pipe on alone has less than its parent
    /// could give.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Guarantees: u32 {
        /// The end is told, whatever it is, once nobody holds the write end any more. By the pipe;
        /// everywhere.
        const END_IS_TOLD = 1;
        /// The parent's death is told before its memory is taken down, however large that is. By
        /// the sentinel.
        const BEFORE_TEARDOWN = 1 << 1;
        /// The parent's death is told whoever else holds the write end: a copy of the parent, made
        /// by fork, that lives on. By the sentinel.
        const WHOEVER_HOLDS_THE_PIPE = 1 << 2;
    }
}

impl Guarantees {
    /// Of a link with a sentinel, or without.
    pub(crate) const fn of(sentinel: bool) -> Guarantees {
        if sentinel {
            Guarantees::all()
        } else {
            Guarantees::END_IS_TOLD
        }
    }
}
