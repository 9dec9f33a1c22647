//! Seccomp filters that name what is allowed, as a virtual machine monitor installs: all else ends
//! the process.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// From now on each system call that is not named here raises SIGSYS, in every thread of this
/// process. Sets `no_new_privs`.
///
/// # Panics
/// If the filter cannot be installed.
pub fn trap_all_but(lists: &[&[libc::c_long]]) {
    let allowed: BTreeMap<_, _> = lists
        .iter()
        .copied()
        .flatten()
        .map(|call| (*call, Vec::new()))
        .collect();
    let filter = SeccompFilter::new(
        allowed,
        SeccompAction::Trap,
        SeccompAction::Allow,
        std::env::consts::ARCH
            .try_into()
            .expect("an architecture that seccompiler knows"),
    );
    let program: BpfProgram = filter
        .expect("a well-formed filter")
        .try_into()
        .expect("a filter that compiles");
    seccompiler::apply_filter_all_threads(&program).expect("seccomp(SECCOMP_SET_MODE_FILTER)");
}
