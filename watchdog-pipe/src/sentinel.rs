//! The sentinel: a parked thread. The kernel tells every child of its death before it tears down
//! the memory of the thread's process.
//!
//! The thread owns a robust futex for each child. At the start of a thread's exit, while the memory
//! is still there, the kernel walks the list of the thread's robust futexes. It marks each and
//! wakes a waiter (`exit_mm_release` in kernel/fork.c, `exit_robust_list` in kernel/futex/core.c).
//! The kernel closes the files, among them the pipe's write end, only after the last thread has
//! given back the memory. The words lie in a sealed memory file. A child maps it read-only and
//! sleeps on its word. It gets no handle on the parent and needs no privilege.
//!
//! The list holds every word of the page from the start and never changes. Only the words change:
//! the kernel skips a word that the thread does not own. So the kernel never finds a half-made
//! change, whenever it looks. A process that announces its death marks the words itself:
//! [`announce`].

mod address;
mod adopt;
mod listener;
mod observer;
mod sentinels;
mod slot;
mod slot_lease;
#[allow(unsafe_code)]
mod sys;
mod thread;

pub(crate) use address::Address;
pub(crate) use adopt::{Damaged, Found, adopt};
pub(crate) use listener::{Listener, ListenerStatus};
pub(crate) use observer::SlotObserver;
pub(crate) use sentinels::announce;
pub(crate) use slot_lease::SlotLease;
