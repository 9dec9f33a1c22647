//! What runs in the child between its creation and its exec, on every engine: no allocation, no
//! lock, no panic of our own.
//!
//! The child may share the parent's memory (`CLONE_VM`). Then the calling thread of the parent is
//! suspended (`CLONE_VFORK`), so that what belongs to that thread is the child's to use: `errno`,
//! and what it passed here by reference. Everything else belongs to the parent's other threads,
//! which go on, and is not touched. System calls are made by number: the C library's functions may
//! take locks or be cancellation points.

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
