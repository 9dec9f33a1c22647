//! Real seccomp filters: system calls that answer an errno, as a container's profile makes them.
//!
//! A filter cannot be taken off again and is inherited by every child, so it goes into a fixture
//! process, never into the test runner.

use std::collections::{BTreeMap, BTreeSet};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// From now on each `(system call, errno)` named here fails with that errno, in every thread of
/// THIS process and in all of its children, across exec. Every other call works as before.
///
/// Numbers are `libc::SYS_*` and `libc::E*`. May be called more than once: filters add up, and the
/// most recent one wins where two of them refuse the same call. Sets `no_new_privs`, so that no
/// privilege is needed.
///
/// # Panics
///
/// If the filter cannot be installed: a fixture that goes on without it would test nothing.
pub fn refuse(calls: &[(libc::c_long, i32)]) {
    let mut by_errno: BTreeMap<i32, BTreeSet<libc::c_long>> = BTreeMap::new();
    for &(call, errno) in calls {
        by_errno.entry(errno).or_default().insert(call);
    }
    for (errno, calls) in by_errno {
        // No argument rules: every use of the call.
        install(
            errno,
            calls.into_iter().map(|call| (call, Vec::new())).collect(),
        );
    }
}

/// The same for fcntl(2) with one command.
///
/// # Panics
///
/// As [`refuse`].
pub fn refuse_fcntl(command: i32, errno: i32) {
    refuse_where(libc::SYS_fcntl, 1, command, errno);
}

/// The same for prctl(2) with one option.
///
/// # Panics
///
/// As [`refuse`].
pub fn refuse_prctl(option: i32, errno: i32) {
    refuse_where(libc::SYS_prctl, 0, option, errno);
}

/// From now on a pidfd does not name a process group, as before Linux 6.9.
///
/// # Panics
///
/// As [`refuse`].
pub fn refuse_groups_by_pidfd() {
    const PIDFD_SIGNAL_PROCESS_GROUP: i32 = 4;
    let call = libc::SYS_pidfd_send_signal;
    refuse_where(call, 3, PIDFD_SIGNAL_PROCESS_GROUP, libc::EINVAL);
}

/// A round with this kernel as it is, and one in which a pidfd names no process group.
pub fn each_way_to_a_group() -> impl Iterator<Item = ()> {
    [false, true].into_iter().map(|is_old| {
        if is_old {
            refuse_groups_by_pidfd();
        }
    })
}

/// `call` with `value` as the argument of that index, counted from 0.
fn refuse_where(call: libc::c_long, argument: u8, value: i32, errno: i32) {
    let (length, value) = (SeccompCmpArgLen::Dword, value.unsigned_abs().into());
    let condition = SeccompCondition::new(argument, length, SeccompCmpOp::Eq, value);
    let rule = SeccompRule::new(vec![condition.expect("a condition")]).expect("a rule");
    install(errno, [(call, vec![rule])].into());
}

/// From now on each of these calls ends the process that makes it by SIGSYS, here and in all
/// children.
///
/// # Panics
///
/// As [`refuse`].
pub fn kill_process_at(calls: &[libc::c_long]) {
    let rules = calls.iter().map(|&call| (call, Vec::new())).collect();
    apply(SeccompAction::KillProcess, rules);
}

/// From now on each of these calls ends the thread that makes it, and no other, here and in all
/// children.
///
/// # Panics
///
/// As [`refuse`].
pub fn kill_thread_at(calls: &[libc::c_long]) {
    let rules = calls.iter().map(|&call| (call, Vec::new())).collect();
    apply(SeccompAction::KillThread, rules);
}

/// One filter knows one errno.
fn install(errno: i32, rules: BTreeMap<libc::c_long, Vec<SeccompRule>>) {
    apply(SeccompAction::Errno(errno.unsigned_abs()), rules);
}

fn apply(action: SeccompAction, rules: BTreeMap<libc::c_long, Vec<SeccompRule>>) {
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        action,
        std::env::consts::ARCH
            .try_into()
            .expect("an architecture that seccompiler knows"),
    )
    .expect("a well-formed filter");
    let program: BpfProgram = filter.try_into().expect("a filter that compiles");
    seccompiler::apply_filter_all_threads(&program).expect("seccomp(SECCOMP_SET_MODE_FILTER)");
}

/// From now on nobody here takes the close-on-exec flag off a descriptor; setting it works as
/// before.
///
/// # Panics
///
/// As [`refuse`].
pub fn refuse_to_clear_cloexec(errno: i32) {
    let is = |argument, value: i32| {
        let (length, value) = (SeccompCmpArgLen::Dword, value.unsigned_abs().into());
        SeccompCondition::new(argument, length, SeccompCmpOp::Eq, value).expect("a condition")
    };
    // fcntl(fd, F_SETFD, 0): both have to be so.
    let rule = SeccompRule::new(vec![is(1, libc::F_SETFD), is(2, 0)]).expect("a rule");
    install(errno, [(libc::SYS_fcntl, vec![rule])].into());
}
