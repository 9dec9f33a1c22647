//! What runs between fork and exec.
//!
//! Another thread of the parent may have held any lock at the fork. And another spawner may share
//! the parent's memory with the child (`CLONE_VM`). So nothing here allocates, locks or panics, and
//! nothing writes to memory that the parent reads, except `errno` and the caller's own error
//! record. System calls are made by number, because the C library's functions may be cancellation
//! points.

mod calls;
mod closure;
mod fds;
mod mark;
mod socket;
mod stdio;
mod target;

pub(crate) use calls::limits;
pub(crate) use closure::PlanClosure;
pub use fds::ChildFds;
pub(crate) use target::Target;
