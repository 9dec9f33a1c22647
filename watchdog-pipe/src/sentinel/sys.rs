//! The unsafe parts of the sentinel: its memory, in the parent and in the child, and its thread.

mod mapped_slot;
mod mapping;
mod robust_list;
mod thread;
mod words;

pub(super) use mapped_slot::MappedSlot;
pub(super) use robust_list::RobustList;
pub(super) use thread::start as start_thread;
pub(super) use words::{SEALS, SLOTS, Words};
