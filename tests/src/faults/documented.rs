//! What the documentation says of faults that are no errors, or that come as errors of another
//! number.

use super::scenario::Scenario;
use super::spec::Fault;
use super::told::{Facts, Refusal};

/// Why a fact may be another one under this fault.
#[must_use]
pub fn fallback(_fault: &Fault, fact: &str, clean: &Facts, seen: &Facts) -> Option<&'static str> {
    let is_less = |name: &str| {
        let of = |facts: &Facts| facts.get(name).cloned().unwrap_or_default();
        of(clean).contains("BEFORE_TEARDOWN") && !of(seen).contains("BEFORE_TEARDOWN")
    };
    let follows_pipe = is_less("guarantees") || is_less("child watchdog");
    match fact {
        "guarantees" | "child watchdog" | "child fds" | "fds" if follows_pipe => {
            Some("Builder::sentinel: the pipe does alone, and the guarantees say so")
        }
        _ => None,
    }
}

/// Of `EBADF` to `F_GETFD`.
pub const CLOSES_WHAT_IS_OPEN: &str =
    "std, in debug builds, ends a process whose descriptor was closed behind its back";

/// Which library below ours ends the process for this fault.
#[must_use]
pub fn below(fault: &Fault, output: &str) -> Option<&'static str> {
    let says = |text: &str| output.contains(text);
    match fault.call {
        libc::SYS_rseq if says("rseq registration failed") => {
            Some("the C library ends a process whose new thread has no rseq(2)")
        }
        libc::SYS_futex if says("The futex facility returned an unexpected error code") => {
            Some("the C library ends a process whose futex(2) fails in a way that cannot be")
        }
        libc::SYS_mmap | libc::SYS_munmap if says("memory allocation of") => {
            Some("Rust ends a process that has no memory left")
        }
        _ => None,
    }
}

/// Why an error may have another number than the fault.
#[must_use]
pub fn error(_scenario: &Scenario, _fault: &Fault, _refusal: &Refusal) -> Option<&'static str> {
    None
}
