//! One fault by its name: `spawn-attached-clone3:0:openat:7:EMFILE`, the seventh openat of the
//! first thread of that scenario.

use std::fmt;

use super::{errno, table};

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    /// Which thread or process: so many were made after the first one.
    pub actor: i32,
    pub call: libc::c_long,
    /// Which of its calls, counted from 1.
    pub turn: u32,
    pub errno: i32,
}

impl Fault {
    /// What a name behind the scenario's says.
    #[must_use]
    pub fn parse(text: &str) -> Option<Fault> {
        let mut parts = text.split(':');
        let fault = Fault {
            actor: parts.next()?.parse().ok()?,
            call: table::by_name(parts.next()?)?.number,
            turn: parts.next()?.parse().ok()?,
            errno: errno::number(parts.next()?)?,
        };
        parts.next().is_none().then_some(fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let call = table::by_number(self.call).map_or("?", table::Row::call);
        let (actor, turn, errno) = (self.actor, self.turn, errno::name(self.errno));
        write!(f, "{actor}:{call}:{turn}:{errno}")
    }
}
