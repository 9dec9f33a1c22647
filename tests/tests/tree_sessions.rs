//! Programs that leave the shim's session, or its user, under the shim.

use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use pidfd_watcher::{Process, Signal};
use rustix::process::Pid;
use workspace_tests::installed::installed;
use workspace_tests::namespace::cover;
use workspace_tests::play::{Cast, Play, Who, can};
use workspace_tests::{Folder, alone_in_pid_namespace, text, until};

const CAST: Cast = Cast {
    shim: env!("CARGO_BIN_EXE_shim_under_test"),
    runtime: env!("CARGO_BIN_EXE_tree_runtime"),
};

const GRACE: Duration = Duration::from_secs(30);

/// Two sleepers, one of them in a session of its own.
const SLEEPERS: &str = "setsid sleep 1000 & exec sleep 1000";

#[test]
fn tmux_that_went_into_the_background_ends_with_its_window_under_subreapers() {
    alone_in_pid_namespace!({ tmux("subreaper") });
}

#[test]
fn tmux_that_went_into_the_background_ends_with_its_window_in_a_cgroup() {
    alone_in_pid_namespace!({ tmux("cgroup") });
}

#[test]
fn tmux_that_went_into_the_background_ends_with_its_window_in_a_pid_namespace() {
    alone_in_pid_namespace!({ tmux("pidns") });
}

#[test]
fn sudo_to_another_user_ends_under_subreapers_of_root() {
    alone_in_pid_namespace!({ sudo_by_root("subreaper") });
}

#[test]
fn sudo_to_another_user_ends_in_a_cgroup_of_root() {
    alone_in_pid_namespace!({ sudo_by_root("cgroup") });
}

#[test]
fn sudo_to_another_user_ends_in_a_pid_namespace_of_root() {
    alone_in_pid_namespace!({ sudo_by_root("pidns") });
}

macro_rules! reported {
    ($($name:ident: $($who:ident),+;)*) => {
        $(
            #[test]
            fn $name() {
                alone_in_pid_namespace!({ sudo_without_privilege(&[$(Who::$who),+]) });
            }
        )*
    };
}

reported! {
    sudo_that_may_not_be_signalled_is_reported_when_the_runtime_is_killed: Runtime;
    sudo_that_may_not_be_signalled_is_reported_when_outer_is_killed: Outer;
    sudo_that_may_not_be_signalled_is_reported_when_inner_is_killed: Inner;
    sudo_that_may_not_be_signalled_is_reported_when_runtime_and_outer_are_killed: Runtime, Outer;
    sudo_that_may_not_be_signalled_is_reported_when_runtime_and_inner_are_killed: Runtime, Inner;
    sudo_that_may_not_be_signalled_is_reported_when_outer_and_inner_are_killed: Outer, Inner;
}

fn tmux(contain: &'static str) {
    if !installed(&["tmux", "setsid"]) || !can(CAST.shim, contain) {
        return;
    }
    for who in Who::survived_in(contain) {
        let folder = Folder::new();
        let socket = text(&folder.join("socket"));
        let name = text(folder.path());
        let script = format!(
            "trap 'echo >{name}/told; exit' TERM HUP; setsid sleep 1000 & echo >{name}/ready; wait"
        );
        let server = ["tmux", "-f", "/dev/null", "-S", &socket];
        let window = ["new-session", "-d", "sh", "-c", &script];
        let command = [&server[..], &window].concat();
        let play = Play::begin(CAST, contain, &["--on-exit=wait"], &command, GRACE);
        until("the window's shell and its sleeper live", || {
            let sleeps = play.named("sleep").len() == 1;
            (sleeps && folder.join("ready").exists()).then_some(())
        });
        play.kill(who);
        play.gone();
        if Who::leaves_good_order(who, contain) {
            let told = folder.join("told").exists();
            assert!(told, "{contain} {who:?}: the window's shell was not told");
        }
    }
}

fn sudo_by_root(contain: &'static str) {
    if !installed(&["sudo", "setsid"]) || !can(CAST.shim, contain) {
        return;
    }
    let folder = Folder::new();
    allow_sudo(&folder);
    for who in Who::survived_in(contain) {
        let command = ["sudo", "-u", "nobody", "sh", "-c", SLEEPERS];
        let play = Play::begin(CAST, contain, &[], &command, GRACE);
        until("both sleep", || {
            (play.named("sleep").len() == 2).then_some(())
        });
        play.kill(who);
        play.gone();
    }
}

/// The shim runs as a user who may not signal what sudo has started.
fn sudo_without_privilege(who: &[Who]) {
    if !installed(&["sudo", "setsid", "setpriv"]) {
        return;
    }
    let folder = Folder::new();
    allow_sudo(&folder);
    // That user may not be able to come to where the tests are built.
    let shim = folder.join("shim");
    fs::copy(CAST.shim, &shim).expect("copy the shim");
    let cast = Cast {
        shim: text(&shim).leak(),
        ..CAST
    };
    let report = folder.join("report");
    let report_name = text(&report);
    let through = [
        &["sh", "-c", r#"exec "$@" 3>>"$0""#, &report_name][..],
        &["setpriv", "--reuid=daemon", "--regid=daemon"],
        &["--clear-groups"],
    ];
    let options = ["--status-fd=3", "--stop-timeout=100ms"];
    let command = ["sudo", "-u", "nobody", "sh", "-c", SLEEPERS];
    let through = through.concat();
    let play = Play::begin_through(&through, cast, "subreaper", &options, &command, GRACE);
    until("both sleep", || {
        (play.named("sleep").len() == 2).then_some(())
    });
    play.kill(who);
    let said = || fs::read_to_string(&report).expect("the report");
    until("it is reported", || {
        said().contains("unkillable").then_some(())
    });
    // Its user may signal sudo itself, which may pass that on; who has left for a session of their
    // own hear nothing.
    let kept = [play.named("sudo"), play.named("sleep")].concat();
    assert!(!kept.is_empty(), "{}", said());
    let line = format!("{{\"event\":\"unkillable\",\"count\":{}}}\n", kept.len());
    assert!(said().ends_with(&line), "{kept:?}: {}", said());
    // They are still held: the end is told when it has come.
    for stat in kept {
        let process = Pid::from_raw(stat.pid).and_then(|pid| Process::open(pid).ok());
        // The end of one may be another one's end.
        let _ = process.map(|process| process.send_signal(Signal::KILL));
    }
    play.gone();
    let last = said().lines().last().map(str::to_owned);
    assert!(last.is_some_and(|line| line.contains("gone")), "{}", said());
}

/// For those who share this process's mounts, `root` and `daemon` may do everything.
fn allow_sudo(folder: &Folder) {
    let rules = folder.join("sudoers");
    let all = "ALL=(ALL:ALL) NOPASSWD: ALL\n";
    fs::write(&rules, format!("root {all}daemon {all}")).expect("write");
    fs::set_permissions(&rules, Permissions::from_mode(0o440)).expect("chmod");
    let rules = rules.as_os_str().as_bytes();
    let rules = std::ffi::CString::new(rules).expect("no NUL in a path");
    cover(c"/etc/sudoers", &rules);
}
