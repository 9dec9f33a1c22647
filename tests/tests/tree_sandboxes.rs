//! Bubblewrap below the shim, and the shim below bubblewrap: nobody is left of either.

use std::path::Path;
use std::process::Command;

use workspace_tests::installed::installed;
use workspace_tests::killings::{Program, no_matter, ready_file, words};
use workspace_tests::play::{Cast, Who, can_through};
use workspace_tests::{alone_in_pid_namespace, in_each_containment};

const SHIM: &str = env!("CARGO_BIN_EXE_shim_under_test");
const CAST: Cast = Cast {
    shim: SHIM,
    runtime: env!("CARGO_BIN_EXE_tree_runtime"),
};

const BUBBLEWRAP: &[&str] = &[
    "bwrap",
    "--unshare-pid",
    "--dev-bind",
    "/",
    "/",
    "--proc",
    "/proc",
    "--",
];
const BUBBLEWRAP_WITHOUT_AN_INIT: &[&str] = &[
    "bwrap",
    "--unshare-pid",
    "--as-pid-1",
    "--dev-bind",
    "/",
    "/",
    "--proc",
    "/proc",
    "--",
];
const UNPRIVILEGED_BUBBLEWRAP: &[&str] = &[
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "bwrap",
    "--unshare-user",
    "--unshare-pid",
    "--dev-bind",
    "/",
    "/",
    "--proc",
    "/proc",
    "--",
];

/// One with a handler, one that ignores the stop signal, and one in a session of its own.
const SCRIPT: &str = "
    (trap '' TERM; sleep 1000; sleep 1000) &
    setsid sleep 1000 &
    trap 'echo > \"$0/term\"; exit' TERM
    echo > \"$0/ready\"
    wait
";

fn script(folder: &Path) -> Vec<String> {
    words(["sh", "-c", SCRIPT, folder.to_str().expect("a plain path")])
}

/// Says why where these programs cannot do what they are to do.
fn works(through: &[&str]) -> bool {
    let words = [through, &["true"]].concat();
    let tried = Command::new(words[0]).args(&words[1..]).output();
    let tried = tried.expect("the first of them is installed");
    if !tried.status.success() {
        let reason = String::from_utf8_lossy(&tried.stderr);
        eprintln!("skipped: {}: {}", through.join(" "), reason.trim());
    }
    tried.status.success()
}

/// `through` stands between the runtime and the shim, `below` between the shim and the tree.
fn sandbox(
    through: &[&str],
    below: &[&str],
    contain: &'static str,
    killed: impl Iterator<Item = &'static [Who]>,
) {
    let command = |folder: &Path| {
        let below = below.iter().map(|word| (*word).to_owned());
        below.chain(script(folder)).collect()
    };
    let handler_ran = |folder: &Path| folder.join("term").exists();
    let program = Program {
        through,
        options: &[],
        command: &command,
        is_ready: &ready_file,
        // Once bubblewrap has ended, of the same stop signal, the kernel ends what is below it.
        ended_well: if below.is_empty() {
            &handler_ran
        } else {
            &no_matter
        },
    };
    program.leaves_nobody(CAST, contain, killed);
}

fn inside(contain: &'static str) {
    if works(BUBBLEWRAP) {
        sandbox(&[], BUBBLEWRAP, contain, Who::survived_in(contain));
    }
}

in_each_containment! { SHIM, &["bwrap"], inside:
    sandbox_under_the_shim_is_gone in "subreaper";
    sandbox_in_a_cgroup_under_the_shim_is_gone in "cgroup";
    sandbox_in_a_pid_namespace_under_the_shim_is_gone in "pidns";
}

fn unprivileged_inside(contain: &'static str) {
    if works(UNPRIVILEGED_BUBBLEWRAP) {
        let killed = Who::survived_in(contain);
        sandbox(&[], UNPRIVILEGED_BUBBLEWRAP, contain, killed);
    }
}

in_each_containment! { SHIM, &["bwrap", "setpriv"], unprivileged_inside:
    sandbox_of_another_user_under_the_shim_is_gone in "subreaper";
    sandbox_of_another_user_in_a_cgroup_under_the_shim_is_gone in "cgroup";
    sandbox_of_another_user_in_a_pid_namespace_under_the_shim_is_gone in "pidns";
}

fn around(contain: &'static str) {
    if works(BUBBLEWRAP) && can_through(BUBBLEWRAP, SHIM, contain) {
        sandbox(BUBBLEWRAP, &[], contain, Who::survived_in(contain));
    }
}

in_each_containment! { SHIM, &["bwrap"], around:
    tree_of_a_shim_in_a_sandbox_is_gone in "subreaper";
    tree_of_a_shim_with_a_cgroup_in_a_sandbox_is_gone in "cgroup";
    tree_of_a_shim_with_a_pid_namespace_in_a_sandbox_is_gone in "pidns";
}

fn unprivileged_around(contain: &'static str) {
    let through = UNPRIVILEGED_BUBBLEWRAP;
    if works(through) && can_through(through, SHIM, contain) {
        sandbox(through, &[], contain, Who::survived_in(contain));
    }
}

in_each_containment! { SHIM, &["bwrap", "setpriv"], unprivileged_around:
    tree_of_an_unprivileged_shim_in_a_sandbox_is_gone in "subreaper";
    tree_of_an_unprivileged_shim_with_a_pid_namespace_in_a_sandbox_is_gone in "pidns";
}

/// There is neither STANDBY nor INNER: the kernel ends the rest with OUTER, which is pid 1.
#[test]
fn tree_of_a_shim_that_is_pid_1_of_a_sandbox_is_gone() {
    let through = BUBBLEWRAP_WITHOUT_AN_INIT;
    if installed(&["bwrap"]) && works(through) {
        alone_in_pid_namespace!({
            let runtime: &[Who] = &[Who::Runtime];
            sandbox(through, &[], "auto", [runtime].into_iter());
        });
    }
}

#[test]
fn tree_of_a_shim_that_is_pid_1_of_a_sandbox_is_gone_when_that_is_killed() {
    let through = BUBBLEWRAP_WITHOUT_AN_INIT;
    if installed(&["bwrap"]) && works(through) {
        alone_in_pid_namespace!({
            let program = Program {
                through,
                options: &[],
                command: &script,
                is_ready: &ready_file,
                ended_well: &no_matter,
            };
            let killed: [&[Who]; 2] = [&[Who::Outer], &[Who::Runtime, Who::Outer]];
            program.leaves_nobody(CAST, "auto", killed);
        });
    }
}
