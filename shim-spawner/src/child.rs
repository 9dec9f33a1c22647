//! What runs in the child between its creation and its exec, on every engine. It does not
//! allocate, takes no lock, and has no panic of our own.
//!
//! The child may share the parent's memory (`CLONE_VM`). Then the calling thread of the parent is
//! suspended (`CLONE_VFORK`), so the child may use what belongs to that thread: `errno`, and what
//! the thread passed by reference. Everything else belongs to the parent's other threads, which
//! keep running, so the child does not touch it. System calls are made by number because the C
//! library's functions may take locks or be cancellation points.

mod belonging;
mod calls;
mod cgroup;
mod closure;
mod credentials;
mod exec;
mod limits;
mod record;
mod routine;
mod signals;
mod streams;
mod terminal;

pub(crate) use belonging::Belonging;
pub(crate) use closure::PreExecClosure;
pub(crate) use routine::{Born, Routine, give_up};
pub(crate) use signals::{Handlers, SIGSET_BYTES, SignalSet};
