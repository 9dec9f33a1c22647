//! The ways in which shim-spawner can create a child, each forced by a real seccomp filter that
//! refuses all others.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use shim_spawner::Engine;

use crate::scenario;
use crate::seccomp;

/// One way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloneMethod {
    /// clone3, x86-64 alone.
    Clone3,
    /// clone with `CLONE_VM` and `CLONE_VFORK`.
    Clone,
    /// clone with `CLONE_VFORK`.
    Copy,
    /// The C library's fork.
    Fork,
}

const NAMES: [(&str, CloneMethod); 4] = [
    ("clone3", CloneMethod::Clone3),
    ("clone", CloneMethod::Clone),
    ("copy", CloneMethod::Copy),
    ("fork", CloneMethod::Fork),
];

impl CloneMethod {
    /// As [`passes`] names it.
    pub fn named(name: &str) -> CloneMethod {
        let found = NAMES.iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("no method {name:?}")).1
    }

    pub fn engine(self) -> Engine {
        if self == CloneMethod::Fork {
            Engine::Fork
        } else {
            Engine::Vfork
        }
    }

    /// From now on this process and its children can suspend themselves for a child in this way
    /// only. Threads and fork are left alone: neither has `CLONE_VFORK`.
    pub fn force(self) {
        let vfork = libc::CLONE_VFORK;
        let vm = libc::CLONE_VM;
        if self != CloneMethod::Clone3 {
            // Its flags are in memory, where no filter sees them.
            seccomp::refuse(&[(libc::SYS_clone3, libc::ENOSYS)]);
        }
        if self != CloneMethod::Clone {
            refuse_clone(vfork | vm, vfork | vm, libc::EPERM);
        }
        if self != CloneMethod::Copy {
            refuse_clone(vfork | vm, vfork, libc::EPERM);
        }
    }
}

/// clone(2) fails with `errno` where its flags, masked, are `value`.
pub fn refuse_clone(mask: i32, value: i32, errno: i32) {
    let flags = |bits: i32| u64::from(bits.unsigned_abs());
    let operator = SeccompCmpOp::MaskedEq(flags(mask));
    let condition = SeccompCondition::new(0, SeccompCmpArgLen::Qword, operator, flags(value))
        .expect("a condition");
    let rule = SeccompRule::new(vec![condition]).expect("a rule");
    let filter = SeccompFilter::new(
        BTreeMap::from([(libc::SYS_clone, vec![rule])]),
        SeccompAction::Allow,
        SeccompAction::Errno(errno.unsigned_abs()),
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

/// The test's side: the scenario ran to its end by this method.
pub fn passes(program: &str, scenario: &str, method: &str) {
    scenario::passes_with(program, scenario, &[method]);
}

/// One test for each scenario and each method of `CASE`.
#[macro_export]
macro_rules! by_every_method {
    ($($test:ident: $scenario:literal,)*) => {
        #[cfg(target_arch = "x86_64")]
        mod clone3 {
            use workspace_tests::clone_method::passes;
            $( #[test] fn $test() { passes(super::CASE, $scenario, "clone3"); } )*
        }
        mod clone {
            use workspace_tests::clone_method::passes;
            $( #[test] fn $test() { passes(super::CASE, $scenario, "clone"); } )*
        }
        mod copy {
            use workspace_tests::clone_method::passes;
            $( #[test] fn $test() { passes(super::CASE, $scenario, "copy"); } )*
        }
        mod fork {
            use workspace_tests::clone_method::passes;
            $( #[test] fn $test() { passes(super::CASE, $scenario, "fork"); } )*
        }
    };
}
