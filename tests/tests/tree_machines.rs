//! Large programs that go into the background or have many processes: nobody of them outlives the
//! runtime, or the shim.

use std::path::Path;

use workspace_tests::in_each_containment;
use workspace_tests::killings::{Program, no_matter, words};
use workspace_tests::play::{Cast, Play, Who};

const SHIM: &str = env!("CARGO_BIN_EXE_shim_under_test");
const CAST: Cast = Cast {
    shim: SHIM,
    runtime: env!("CARGO_BIN_EXE_tree_runtime"),
};

/// The leader ends as soon as the daemon runs.
fn qemu(contain: &'static str) {
    let command = |folder: &Path| {
        words([
            "qemu-system-x86_64",
            "-daemonize",
            "-display",
            "none",
            "-machine",
            "none",
            "-nodefaults",
            "-pidfile",
            folder.join("pid").to_str().expect("a plain path"),
        ])
    };
    let program = Program {
        through: &[],
        options: &["--on-exit=wait"],
        command: &command,
        // The leader has ended: the daemon has its handlers by then.
        is_ready: &|play, folder| {
            folder.join("pid").exists() && play.named("qemu-system-x86").len() == 1
        },
        // A machine that is switched off removes it.
        ended_well: &|folder| !folder.join("pid").exists(),
    };
    program.leaves_nobody(CAST, contain, Who::survived_in(contain));
}

in_each_containment! { SHIM, &["qemu-system-x86_64"], qemu:
    machine_in_the_background_is_stopped in "subreaper";
    machine_in_the_background_is_stopped_in_a_cgroup in "cgroup";
    machine_in_the_background_is_stopped_in_a_pid_namespace in "pidns";
}

/// A browser takes seconds to start. So it is played for those sets alone that leave a different
/// one in charge each: INNER, OUTER or STANDBY, the other of the two, and the kernel.
fn chromium(contain: &'static str) {
    let command = |folder: &Path| {
        let folder = folder.to_str().expect("a plain path");
        words([
            "env",
            &format!("HOME={folder}"),
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &format!("--user-data-dir={folder}/data"),
            "--remote-debugging-port=0",
            "about:blank",
        ])
    };
    let is_ready = |play: &Play, folder: &Path| {
        folder.join("data/DevToolsActivePort").exists()
            && !play.with_argument("--type=zygote").is_empty()
            && !play.with_argument("--type=renderer").is_empty()
    };
    let program = Program {
        through: &[],
        options: &[],
        command: &command,
        is_ready: &is_ready,
        ended_well: &no_matter,
    };
    let killed: [&[Who]; 4] = [
        &[Who::Runtime],
        &[Who::Runtime, Who::Inner],
        &[Who::Outer, Who::Inner],
        Who::ALL_THREE,
    ];
    let killed = killed
        .into_iter()
        .filter(|who| Who::survived_in(contain).any(|survived| survived == *who));
    program.leaves_nobody(CAST, contain, killed);
}

in_each_containment! { SHIM, &["chromium"], chromium:
    browser_is_gone_with_its_zygotes_and_renderers in "subreaper";
    browser_is_gone_from_a_cgroup_with_its_zygotes_and_renderers in "cgroup";
    browser_is_gone_from_a_pid_namespace_with_its_zygotes_and_renderers in "pidns";
}
