//! Servers under the shim: whoever is killed, nobody of them is left, nor of the sessions that they
//! serve.

use std::fs::{self, DirBuilder, File};
use std::net::TcpStream;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use workspace_tests::ask::answers;
use workspace_tests::installed::{installed, path_of};
use workspace_tests::namespace::{mount_tmpfs, unshare_network};
use workspace_tests::play::{Cast, Play, Who, can};
use workspace_tests::{Folder, Guard, alone_in_pid_namespace, text, until};

const CAST: Cast = Cast {
    shim: env!("CARGO_BIN_EXE_shim_under_test"),
    runtime: env!("CARGO_BIN_EXE_tree_runtime"),
};

const GRACE: Duration = Duration::from_secs(30);

#[test]
fn nginx_that_has_made_a_daemon_of_itself_ends_in_good_order_under_subreapers() {
    alone_in_pid_namespace!({ nginx("subreaper") });
}

#[test]
fn nginx_that_has_made_a_daemon_of_itself_ends_in_good_order_in_a_cgroup() {
    alone_in_pid_namespace!({ nginx("cgroup") });
}

#[test]
fn nginx_that_has_made_a_daemon_of_itself_ends_in_good_order_in_a_pid_namespace() {
    alone_in_pid_namespace!({ nginx("pidns") });
}

#[test]
fn sshd_ends_with_its_session_and_all_that_was_started_there_under_subreapers() {
    alone_in_pid_namespace!({ sshd("subreaper") });
}

#[test]
fn sshd_ends_with_its_session_and_all_that_was_started_there_in_a_cgroup() {
    alone_in_pid_namespace!({ sshd("cgroup") });
}

#[test]
fn sshd_ends_with_its_session_and_all_that_was_started_there_in_a_pid_namespace() {
    alone_in_pid_namespace!({ sshd("pidns") });
}

fn nginx(contain: &'static str) {
    if !installed(&["nginx"]) || !can(CAST.shim, contain) {
        return;
    }
    let nginx = text(&path_of("nginx").expect("installed"));
    for who in Who::survived_in(contain) {
        let folder = Folder::new();
        let prefix = text(folder.path());
        let (conf, log) = (folder.join("conf"), folder.join("log"));
        fs::write(&conf, nginx_conf(&prefix)).expect("write");
        let (conf, log_name) = (text(&conf), text(&log));
        let command = [&nginx, "-p", &prefix, "-c", &conf, "-e", &log_name];
        let play = Play::begin(CAST, contain, &["--on-exit=wait"], &command, GRACE);
        until("the server answers", || {
            answers(&folder.join("socket"), "GET / HTTP/1.0\r\n\r\n", "well").then_some(())
        });
        until("the master and its workers are all that is left", || {
            (play.named("nginx").len() == 3).then_some(())
        });
        play.kill(who);
        play.gone();
        if Who::leaves_good_order(who, contain) {
            // The master removes it when its workers have ended.
            let removed = !folder.join("pid").exists();
            let log = fs::read_to_string(log).expect("the log");
            assert!(
                removed && log.contains("exiting"),
                "{contain} {who:?}: {log}"
            );
        }
    }
}

/// Everything below the prefix: nothing of the system's nginx is read or written.
fn nginx_conf(prefix: &str) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {prefix}/{name};\n"))
        .concat();
    format!(
        "daemon on; user root; worker_processes 2;
         pid {prefix}/pid; error_log {prefix}/log notice;
         events {{ }}
         http {{
            access_log off;
            {temporary}
            server {{ listen unix:{prefix}/socket; return 200 well; }}
         }}"
    )
}

/// In a network of the test's own.
const PORT: u16 = 2222;

/// Two sleepers: the session's own program, and one that has left the session.
const IN_THE_SESSION: &str = "setsid sleep 1000 & exec sleep 1000";

fn sshd(contain: &'static str) {
    let programs = ["sshd", "ssh", "ssh-keygen", "setsid"];
    if !installed(&programs) || !can(CAST.shim, contain) || !unshare_network() {
        return;
    }
    let sshd = text(&path_of("sshd").expect("installed"));
    // For the folder in which sshd locks up its own half without privilege.
    mount_tmpfs(Path::new("/run"), "mode=755");
    let mut private = DirBuilder::new();
    private.mode(0o755).create("/run/sshd").expect("create");
    let folder = Folder::new();
    for name in ["host", "key"] {
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]);
        let status = keygen.arg(folder.join(name)).status();
        assert!(status.expect("run ssh-keygen").success());
    }
    let conf = folder.join("conf");
    fs::write(&conf, sshd_conf(&text(folder.path()))).expect("write");
    let conf = text(&conf);
    for (turn, who) in Who::survived_in(contain).enumerate() {
        let log = folder.join(format!("log-{turn}"));
        let log_name = text(&log);
        let command = [&sshd, "-D", "-f", &conf, "-E", &log_name];
        let play = Play::begin(CAST, contain, &[], &command, GRACE);
        until("the server listens", || {
            TcpStream::connect(("127.0.0.1", PORT)).ok()
        });
        let mut client = open_session(&folder);
        until("the session has started its programs", || {
            (play.named("sleep").len() == 2).then_some(())
        });
        play.kill(who);
        // The client ends when its connection does.
        play.gone();
        assert_eq!(client.wait_deadline().code(), Some(255));
        if Who::leaves_good_order(who, contain) {
            let log = fs::read_to_string(log).expect("the log");
            let told = log.contains("Received signal 15; terminating");
            assert!(told, "{contain} {who:?}: {log}");
        }
    }
}

fn sshd_conf(folder: &str) -> String {
    format!(
        "ListenAddress 127.0.0.1:{PORT}
         HostKey {folder}/host
         AuthorizedKeysFile {folder}/key.pub
         PidFile {folder}/pid
         PermitRootLogin yes
         PermitUserRC no
         StrictModes no
         UsePAM no"
    )
}

fn open_session(folder: &Folder) -> Guard {
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "none", "-i"]).arg(folder.join("key"));
    for option in [
        "BatchMode=yes",
        "IdentitiesOnly=yes",
        "StrictHostKeyChecking=no",
        "UserKnownHostsFile=/dev/null",
        "LogLevel=ERROR",
    ] {
        ssh.args(["-o", option]);
    }
    let port = PORT.to_string();
    ssh.args(["-p", &port, "root@127.0.0.1", IN_THE_SESSION]);
    let errors = File::create(folder.join("client")).expect("create");
    ssh.stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors);
    Guard::spawn(&mut ssh)
}
