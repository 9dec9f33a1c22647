//! What the verbs that run for minutes or hours have in common: how far they have come, an end on
//! ^C that leaves nothing behind, and a table at the end.

mod contained;
mod interrupt;
#[allow(unreachable_pub, reason = "it is a file of a library too")]
#[path = "../../tests/src/progress.rs"]
mod progress;
mod table;

pub(crate) use contained::{Contained, Ended};
pub(crate) use interrupt::Interrupt;
pub(crate) use progress::Progress;
pub(crate) use table::Table;
