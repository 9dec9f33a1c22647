//! Databases under the shim: whoever is killed, nobody of them is left, and what they have
//! acknowledged is there when they start again.

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use workspace_tests::ask::answers;
use workspace_tests::installed::{installed, path_of};
use workspace_tests::play::{Cast, Play, Who, can};
use workspace_tests::{Folder, Guard, alone_in_pid_namespace, text, until};

const CAST: Cast = Cast {
    shim: env!("CARGO_BIN_EXE_shim_under_test"),
    runtime: env!("CARGO_BIN_EXE_tree_runtime"),
};

/// Long enough for a database to write down what it has.
const GRACE: Duration = Duration::from_secs(30);

/// PostgreSQL refuses to run as root.
const NOBODY: u32 = 65534;
const AS_NOBODY: [&str; 4] = [
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
];

#[test]
fn postgresql_keeps_every_acknowledged_row_under_subreapers() {
    alone_in_pid_namespace!({ postgresql("subreaper") });
}

#[test]
fn postgresql_keeps_every_acknowledged_row_in_a_cgroup() {
    alone_in_pid_namespace!({ postgresql("cgroup") });
}

#[test]
fn postgresql_keeps_every_acknowledged_row_in_a_pid_namespace() {
    alone_in_pid_namespace!({ postgresql("pidns") });
}

#[test]
fn redis_that_has_made_a_daemon_of_itself_saves_and_ends_under_subreapers() {
    alone_in_pid_namespace!({ redis("subreaper") });
}

#[test]
fn redis_that_has_made_a_daemon_of_itself_saves_and_ends_in_a_cgroup() {
    alone_in_pid_namespace!({ redis("cgroup") });
}

#[test]
fn redis_that_has_made_a_daemon_of_itself_saves_and_ends_in_a_pid_namespace() {
    alone_in_pid_namespace!({ redis("pidns") });
}

fn postgresql(contain: &'static str) {
    let Some(cluster) = Cluster::new() else {
        return;
    };
    if !can(CAST.shim, contain) {
        return;
    }
    let mut acknowledged = Vec::new();
    let mut in_good_order = true;
    for (turn, who) in Who::survived_in(contain).enumerate() {
        let (play, log) = cluster.start(contain, turn);
        let case = format!("{contain} {who:?}, start {turn}");
        assert!(!(in_good_order && was_recovered(&log)), "{case}");
        cluster.has_all(&acknowledged, &case);
        let (mut client, _orders) = cluster.write_rows();
        until("rows are acknowledged", || {
            (cluster.acknowledged().len() >= 20).then_some(())
        });
        play.kill(who);
        // The client ends when the server does.
        play.gone();
        client.wait_deadline();
        acknowledged.extend(cluster.acknowledged());
        in_good_order = Who::leaves_good_order(who, contain);
        assert!(!in_good_order || was_shut_down(&log), "{case}");
    }
    let (play, log) = cluster.start(contain, usize::MAX);
    assert!(!(in_good_order && was_recovered(&log)), "{contain}");
    cluster.has_all(&acknowledged, contain);
    play.kill(&[Who::Runtime]);
    play.gone();
}

fn was_shut_down(log: &Path) -> bool {
    let log = fs::read_to_string(log).expect("the log");
    log.contains("database system is shut down")
}

fn was_recovered(log: &Path) -> bool {
    let log = fs::read_to_string(log).expect("the log");
    log.contains("database system was not properly shut down")
}

/// The data of a PostgreSQL server, and how one is started on it.
struct Cluster {
    folder: Folder,
    programs: PathBuf,
}

impl Cluster {
    /// `None`, and a line that says why, where there is no PostgreSQL.
    fn new() -> Option<Cluster> {
        if !installed(&["setpriv", "yes"]) {
            return None;
        }
        let Some(programs) = programs_of_postgresql() else {
            eprintln!("skipped: postgresql is not installed");
            return None;
        };
        let cluster = Cluster {
            folder: Folder::new(),
            programs,
        };
        chown(cluster.folder.path(), Some(NOBODY), Some(NOBODY)).expect("as root");
        let mut initdb = Command::new(AS_NOBODY[0]);
        initdb.args(&AS_NOBODY[1..]);
        initdb.args([&cluster.program("initdb"), "--pgdata", &cluster.data()]);
        initdb.args(["--username=test", "--auth=trust", "--locale=C", "--no-sync"]);
        let output = initdb.output().expect("run initdb");
        assert!(output.status.success(), "{output:?}");
        Some(cluster)
    }

    fn program(&self, name: &str) -> String {
        text(&self.programs.join(name))
    }

    fn data(&self) -> String {
        text(&self.folder.join("data"))
    }

    /// Starts a server under the shim and waits until it takes orders; with its log.
    fn start(&self, contain: &'static str, turn: usize) -> (Play, PathBuf) {
        let log = self.folder.join(format!("log-{turn}"));
        let (log_name, sockets) = (text(&log), text(self.folder.path()));
        let (postgres, data) = (self.program("postgres"), self.data());
        // The server writes to its standard error.
        let to_log = ["sh", "-c", r#"exec "$@" 2>"$0""#, &log_name];
        let server = [&postgres, "-D", &data, "-k", &sockets, "-h", ""];
        let play = Play::begin(
            CAST,
            contain,
            &["--stop-signal=INT", "--signal-to=main"],
            &[&to_log[..], &AS_NOBODY, &server].concat(),
            GRACE,
        );
        until("the server takes orders", || {
            self.order("CREATE TABLE IF NOT EXISTS rows (id serial)")
        });
        (play, log)
    }

    fn client(&self) -> Command {
        let mut psql = Command::new(self.program("psql"));
        psql.arg("--host").arg(self.folder.path());
        psql.args(["--username=test", "--dbname=postgres", "--no-psqlrc"]);
        psql.args(["--quiet", "--tuples-only", "--no-align"]);
        psql.stdin(Stdio::null()).stderr(Stdio::null());
        psql
    }

    /// What a client is answered.
    fn order(&self, sql: &str) -> Option<String> {
        let output = self.client().args(["--command", sql]).output();
        let output = output.expect("run psql");
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A client that writes rows until the server is gone, and the program that feeds it.
    fn write_rows(&self) -> (Guard, Guard) {
        let mut orders = Command::new("yes");
        orders.arg("INSERT INTO rows DEFAULT VALUES RETURNING id;");
        let mut orders = Guard::spawn(orders.stdout(Stdio::piped()).stderr(Stdio::null()));
        let answers = File::create(self.folder.join("acknowledged")).expect("create");
        let mut client = self.client();
        client.stdin(orders.stdout.take().expect("piped"));
        (Guard::spawn(client.stdout(answers)), orders)
    }

    /// The rows that the client knows to be written.
    fn acknowledged(&self) -> Vec<u32> {
        numbers(&fs::read_to_string(self.folder.join("acknowledged")).expect("the answers"))
    }

    fn has_all(&self, acknowledged: &[u32], case: &str) {
        let stored = numbers(&self.order("SELECT id FROM rows").expect("an answer"));
        let lost: Vec<_> = acknowledged
            .iter()
            .filter(|row| !stored.contains(row))
            .collect();
        assert!(lost.is_empty(), "{case}: lost {lost:?}");
    }
}

/// One in each line that is complete.
fn numbers(lines: &str) -> Vec<u32> {
    let complete = lines.split_inclusive('\n');
    complete
        .filter_map(|line| line.strip_suffix('\n')?.parse().ok())
        .collect()
}

/// Debian has a folder for each version, and none of it on `PATH`.
fn programs_of_postgresql() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok();
    let versions = versions.into_iter().flatten().flatten();
    let on_path = path_of("initdb").and_then(|file| Some(file.parent()?.to_owned()));
    versions
        .map(|version| version.path().join("bin"))
        .chain(on_path)
        .find(|folder| {
            ["initdb", "postgres", "psql"]
                .iter()
                .all(|name| folder.join(name).exists())
        })
}

fn redis(contain: &'static str) {
    if !installed(&["redis-server"]) || !can(CAST.shim, contain) {
        return;
    }
    let folder = Folder::new();
    let socket = folder.join("socket");
    let mut saved: Option<usize> = None;
    for (turn, who) in Who::survived_in(contain)
        .chain([&[Who::Runtime][..]])
        .enumerate()
    {
        let case = format!("{contain} {who:?}, start {turn}");
        let log = folder.join(format!("log-{turn}"));
        let (folder_name, log_name) = (text(folder.path()), text(&log));
        let socket_name = text(&socket);
        let files = ["--dir", &folder_name, "--logfile", &log_name];
        let command = [
            &["redis-server", "--daemonize", "yes", "--port", "0"],
            &["--unixsocket", &socket_name, "--save", "3600", "1"][..],
            &files,
            // The shim's business is its end, not how it is named to the system.
            &["--set-proc-title", "no", "--pidfile", ""],
        ];
        let play = Play::begin(CAST, contain, &["--on-exit=wait"], &command.concat(), GRACE);
        until("the server takes orders", || {
            answers(&socket, "PING\r\n", "+PONG").then_some(())
        });
        until("the one that was started has ended", || {
            (play.named("redis-server").len() == 1).then_some(())
        });
        if let Some(value) = saved {
            let got = answers(&socket, "GET key\r\n", &format!("\r\n{value}\r\n"));
            assert!(got, "{case}: {value} is lost");
        }
        let order = format!("SET key {turn}\r\n");
        assert!(answers(&socket, &order, "+OK"), "{case}");
        play.kill(who);
        play.gone();
        let log = fs::read_to_string(log).expect("the log");
        let in_good_order = Who::leaves_good_order(who, contain);
        // Where INNER is killed after another one, it may have asked for the end before.
        saved = None;
        if in_good_order {
            for said in ["Saving the final RDB snapshot", "ready to exit, bye bye"] {
                assert!(log.contains(said), "{case}: {log}");
            }
            saved = Some(turn);
        }
    }
}
