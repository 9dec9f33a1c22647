//! The sentinel: a parked thread whose death the kernel tells every child, before it takes down the
//! memory of the process that the thread belonged to.
//!
//! The thread owns a robust futex for each child. At the start of the exit of a thread, with the
//! memory still there, the kernel walks the list of its robust futexes, marks each and wakes a
//! waiter (`exit_mm_release` in kernel/fork.c, `exit_robust_list` in kernel/futex/core.c); the
//! files, the pipe's write end among them, are closed only after the last thread has given the
//! memory back. The words lie in a sealed memory file. A child maps it read-only and sleeps on its
//! word: no handle on the parent, no privilege.
//!
//! The list holds every word of the page from the start and is never changed. What changes is the
//! word: one that is not the thread's is passed over. So nothing the kernel finds, whenever it
//! looks, can be half done. A process that has last words marks the words itself: [`announce`].

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
