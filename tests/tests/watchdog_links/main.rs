//! Links with a sentinel, many of them and under bad conditions. The process that makes the links
//! is a fork; each child is another fork of this process, which never holds a write end: what a
//! child needs comes by SCM_RIGHTS.

mod copies;
mod ends;
mod given;
mod hostile;
mod pages;
mod races;
mod refused;
mod thread;
mod words;

/// Forks of forks, whose parents were killed, are ours to end. First in every case.
fn take_in_orphans() {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).expect("subreaper");
}
