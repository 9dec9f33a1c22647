//! One fault by its name: `spawn-clone3:0:openat:7:EMFILE`, the seventh openat of the first thread
//! of that scenario. With `+` at the end, all that come later fail too.

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
    /// All later ones too.
    pub lasts: bool,
}

impl Fault {
    /// Whether it is about this call of that actor.
    #[must_use]
    pub fn is_at(&self, turn: u32) -> bool {
        turn == self.turn || self.lasts && turn > self.turn
    }

    /// What a name behind the scenario's says.
    #[must_use]
    pub fn parse(text: &str) -> Option<Fault> {
        let (text, lasts) = text.strip_suffix('+').map_or((text, false), |t| (t, true));
        let mut parts = text.split(':');
        let fault = Fault {
            actor: parts.next()?.parse().ok()?,
            call: table::by_name(parts.next()?)?.number,
            turn: parts.next()?.parse().ok()?,
            errno: errno::number(parts.next()?)?,
            lasts,
        };
        parts.next().is_none().then_some(fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let call = table::by_number(self.call).map_or("?", table::Row::call);
        let (actor, turn, errno) = (self.actor, self.turn, errno::name(self.errno));
        let lasts = if self.lasts { "+" } else { "" };
        write!(f, "{actor}:{call}:{turn}:{errno}{lasts}")
    }
}
