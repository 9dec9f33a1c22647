//! The ways in which shim-spawner can create a child, each forced by a real seccomp filter that
//! refuses all others.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use shim_spawner::Engine;

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

static FORCED: OnceLock<CloneMethod> = OnceLock::new();

/// The way in which children are created here: the one that this process was forced to.
pub fn method() -> CloneMethod {
    *FORCED.get().expect("a method")
}

impl CloneMethod {
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
        FORCED.set(self).expect("once");
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

/// One case, which is a function, and a test for each method: the function runs
/// [alone](mod@crate::alone), where children are created in that way.
#[macro_export]
macro_rules! by_every_method {
    ($(#[$attribute:meta])* fn $case:ident() $body:block) => {
        $(#[$attribute])*
        fn $case() $body
        mod $case {
            use $crate::clone_method::CloneMethod;
            #[cfg(target_arch = "x86_64")]
            #[test]
            fn clone3() {
                $crate::alone!({
                    CloneMethod::Clone3.force();
                    super::$case();
                });
            }
            #[test]
            fn clone() {
                $crate::alone!({
                    CloneMethod::Clone.force();
                    super::$case();
                });
            }
            #[test]
            fn copy() {
                $crate::alone!({
                    CloneMethod::Copy.force();
                    super::$case();
                });
            }
            #[test]
            fn fork() {
                $crate::alone!({
                    CloneMethod::Fork.force();
                    super::$case();
                });
            }
        }
    };
}
