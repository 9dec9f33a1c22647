//! Injected faults: a system call of an operation of ours fails, by a seccomp filter that asks this
//! process about each call.
//!
//! The injector is pid 1 of a PID namespace. It forks a subject, which runs a scenario: an
//! operation, the same once more, and a count of what the process holds afterwards. The injector
//! counts the calls that the operation makes, thread by thread, and lets the k-th one fail. Then it
//! judges what came of it.

pub mod actor;
mod arms;
pub mod campaign;
mod documented;
mod errno;
mod filter;
mod judge;
mod marker;
pub mod role;
mod scenario;
mod scene;
mod signals;
mod spec;
mod subject;
mod table;
mod told;
mod trial;
pub mod wish;
mod world;
