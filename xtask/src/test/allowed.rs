//! What a run of the tests may skip, and where: the list by which CI judges.

use super::machine::{Capability, Lack, Machine};
use Lack::{
    Cgroups, Cores, Kernel, OpenFiles, Processes, Program, ProgramNamed, Root, SecondCpu, Told, X86,
};

/// A skip, and what a machine lacks that may make it. One lack is enough.
struct Allowed {
    /// What the test says. `*` is any text; what the first one stands for is what is lacking.
    text: &'static str,
    lacks: &'static [Lack],
}

const fn allow(text: &'static str, lacks: &'static [Lack]) -> Allowed {
    Allowed { text, lacks }
}

const SYS_ADMIN: Lack = Lack::Capability(Capability(21));
const SYS_PTRACE: Lack = Lack::Capability(Capability(19));
const SYS_CHROOT: Lack = Lack::Capability(Capability(18));
const SYS_RESOURCE: Lack = Lack::Capability(Capability(24));

/// Every skip that CI accepts. What stands here is a limit of the machine, which no change of ours
/// can mend. A program is one where it cannot be installed.
const ALLOWED: &[Allowed] = &[
    // A limit can only be raised above its maximum, or a process put into a better class, with it.
    allow(
        "skipped: needs CapabilitySet(SYS_RESOURCE)",
        &[SYS_RESOURCE],
    ),
    allow(
        "skipped: no number as high as * is to be had here: *",
        &[SYS_RESOURCE],
    ),
    // What a newer kernel has.
    allow(
        "skipped: CLONE_PIDFD_AUTOKILL is of Linux 7.1, and tried on x86-64 alone",
        &[Kernel(7, 1), X86],
    ),
    allow(
        "skipped: pid_max is not the namespace's own before Linux 6.14",
        &[Kernel(6, 14)],
    ),
    allow("skipped: * (Linux 6.13) *", &[Kernel(6, 13)]),
    allow(
        "skipped: PIDFD_GET_INFO came with Linux 6.13",
        &[Kernel(6, 13)],
    ),
    allow("skipped: * (Linux 6.12)", &[Kernel(6, 12)]),
    allow("skipped: no pidfs before Linux 6.9", &[Kernel(6, 9)]),
    allow(
        "skipped: PIDFD_NONBLOCK came with Linux 5.10*",
        &[Kernel(5, 10)],
    ),
    // What is root's alone.
    allow("skipped: needs root*", &[Root]),
    allow("skipped: only root *", &[Root]),
    allow("skipped: not root, *", &[Root]),
    // Namespaces, cgroups and mounts.
    allow("skipped: no * namespace to be had*", &[SYS_ADMIN]),
    allow(
        "skipped: no namespaces with a cgroup mount",
        &[SYS_ADMIN, Cgroups],
    ),
    allow(
        "skipped: no cgroup of version 2 can be made here*",
        &[Root, Cgroups],
    ),
    allow("skipped: watchdog-shim: *", &[Root, SYS_ADMIN, Cgroups]),
    allow("skipped: *: no pidns here", &[SYS_ADMIN]),
    allow("skipped: *: no cgroup here", &[Root, Cgroups]),
    allow("skipped pidns: *", &[SYS_ADMIN]),
    allow("skipped cgroup: *", &[Root, Cgroups]),
    allow("skipped: bwrap *", &[SYS_ADMIN]),
    allow("skipped: firejail *", &[SYS_ADMIN]),
    allow("skipped: unshare *", &[SYS_ADMIN]),
    allow("skipped: chroot is refused: *", &[SYS_CHROOT]),
    allow(
        "skipped: /usr cannot be a root directory here",
        &[SYS_CHROOT],
    ),
    allow("skipped: no permission to trace *", &[SYS_PTRACE]),
    // How large the machine is.
    allow("skipped: this machine has one CPU", &[SecondCpu]),
    allow("skipped in part: * children, *", &[OpenFiles(10_100)]),
    allow("skipped: * sleepers; of *", &[Processes(23_000)]),
    // A core that goes to a program is none of the test's.
    allow("skipped: this system writes no core *", &[Cores]),
    allow("skipped in part: this system writes no core *", &[Cores]),
    allow("skipped: whether it dumped core: *", &[Cores]),
    // How this system is set up, or what its version of a program does.
    allow("skipped: * is on a file system mounted nosuid", &[Told]),
    allow(
        "skipped: the folder for temporary files is mounted nosuid",
        &[Told],
    ),
    allow("skipped: this make's jobserver has a name *", &[Told]),
    allow("skipped: make is not GNU make", &[Told]),
    allow("skipped: this node does not mark its streams", &[Told]),
    // Programs.
    allow(
        "skipped: bash-completion is not installed",
        &[Program("/usr/share/bash-completion/bash_completion")],
    ),
    allow(
        "skipped: postgresql is not installed",
        &[Program("/usr/lib/postgresql/15/bin/initdb")],
    ),
    allow(
        "skipped: no /lib/systemd/systemd",
        &[Program("/lib/systemd/systemd")],
    ),
    allow("skipped: no python3 here", &[Program("python3")]),
    allow("skipped: no node here: *", &[Program("node")]),
    allow("skipped: no make: *", &[Program("make")]),
    allow("skipped: * is not installed", &[ProgramNamed]),
];

/// Whether `machine` has a reason for this skip.
pub(super) fn is_allowed(skip: &str, machine: &Machine) -> bool {
    let is_reason = |allowed: &Allowed| {
        matched(allowed.text, skip).is_some_and(|what| {
            let mut lacks = allowed.lacks.iter();
            lacks.any(|lack| machine.lacks(*lack, what))
        })
    };
    ALLOWED.iter().any(is_reason)
}

/// Whether `text` is as `pattern` says; then what its first `*` stands for, or nothing.
fn matched<'a>(pattern: &str, text: &'a str) -> Option<&'a str> {
    let mut parts = pattern.split('*');
    let mut rest = text.strip_prefix(parts.next()?)?;
    let mut first = None;
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty().then_some("");
    }
    while let Some(part) = parts.next() {
        // The last one stands at the end.
        let at = if parts.peek().is_none() {
            rest.ends_with(part).then(|| rest.len() - part.len())
        } else {
            rest.find(part)
        }?;
        first = first.or_else(|| rest.get(..at));
        rest = rest.get(at + part.len()..)?;
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn star_is_any_text_and_the_rest_is_meant_word_for_word() {
        assert_eq!(matched("a b", "a b"), Some(""));
        assert_eq!(matched("a b", "a bc"), None);
        assert_eq!(matched("a *", "a b c"), Some("b c"));
        assert_eq!(matched("no * here: *", "no one here: x"), Some("one"));
        assert_eq!(matched("no * here", "no one there"), None);
        assert_eq!(matched("* is not", "vim is not"), Some("vim"));
        assert_eq!(matched("* is not", "vim is not here"), None);
        // What is in the middle does not overlap with what is at the end.
        assert_eq!(matched("a*bc*c", "abc"), None);
    }

    #[test]
    fn skip_is_allowed_where_the_machine_lacks_what_it_needs_and_nowhere_else() {
        let lacking = Machine {
            capabilities: 0,
            kernel: (6, 18),
            ..Machine::whole()
        };
        for skip in [
            "skipped: needs CapabilitySet(SYS_RESOURCE)",
            "skipped: no number as high as 65536 is to be had here: Operation not permitted",
            "skipped: no new PID namespace to be had here (EPERM)",
        ] {
            assert!(is_allowed(skip, &lacking), "{skip}");
            assert!(!is_allowed(skip, &Machine::whole()), "{skip}");
        }
        let auto_kill = "skipped: CLONE_PIDFD_AUTOKILL is of Linux 7.1, and tried on x86-64 alone";
        assert!(is_allowed(auto_kill, &lacking));
        assert!(!is_allowed(auto_kill, &Machine::whole()));
        for skip in [
            "skipped: I felt like it",
            "skipped: node_module was not built",
        ] {
            assert!(!is_allowed(skip, &lacking), "{skip}");
        }
    }

    #[test]
    fn missing_program_is_a_reason_where_it_could_not_be_installed() {
        let skip = "skipped: no-such-program is not installed";
        let elsewhere = Machine {
            installs: false,
            ..Machine::whole()
        };
        assert!(is_allowed(skip, &elsewhere));
        let by_whom = "skipped: tini -s: no-such-program is not installed";
        assert!(is_allowed(by_whom, &elsewhere));
        assert!(!is_allowed(skip, &Machine::whole()));
        let tried = Machine {
            not_installed: vec!["no-such-program".to_owned()],
            ..Machine::whole()
        };
        assert!(is_allowed(skip, &tried));
        // One that is there is no reason anywhere.
        assert!(!is_allowed("skipped: cargo is not installed", &elsewhere));
    }
}
