//! Socket activation: a child finds its descriptors as those that a service manager starts, and
//! consumers that know nothing of us take them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio as StdStdio};

use shim_spawner::{ShimSpawner, SpawnError, Stage, Stdio, Supervisor};
use workspace_tests::clone_method::method;
use workspace_tests::fd_table::{Witness, file, id};
use workspace_tests::installed::installed;
use workspace_tests::spawn_case::{ends_well, fails, needs_root, output, spawner_of};
use workspace_tests::{Folder, Guard, alone, by_every_method, reaped, until};

/// A shell that says its pid and its environment.
const TELL: &str = "echo PID=$$; exec env";

fn variables(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let pairs = pairs.filter(|(name, _)| name.starts_with("LISTEN") || *name == "PID");
    let pairs: Vec<_> = pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let count = pairs.len();
    let map: BTreeMap<_, _> = pairs.into_iter().collect();
    assert_eq!(map.len(), count, "a variable twice: {text}");
    map
}

fn told(prepare: impl FnOnce(&mut ShimSpawner)) -> BTreeMap<String, String> {
    let mut shell = spawner_of("/bin/sh");
    shell.args(["-c", TELL]);
    prepare(&mut shell);
    variables(&output(&mut shell))
}

by_every_method!(
    fn variables_name_the_descriptors_and_the_child_itself() {
        for detached in [false, true] {
            let told = told(|shell| {
                shell
                    .listen_fds([("http", file()), ("admin panel", file())])
                    .detached(detached);
            });
            assert_eq!(told["LISTEN_FDS"], "2");
            assert_eq!(told["LISTEN_FDNAMES"], "http:admin panel");
            assert_eq!(told["LISTEN_PID"], told["PID"]);
            assert_eq!(told.len(), 4, "{told:?}");
        }
    }
);

by_every_method!(
    /// Ours make room.
    fn descriptors_lie_on_3_and_up() {
        let witness = Witness::new();
        let mut spawner = spawner_of(witness.command.get_program());
        spawner.args(witness.command.get_args());
        let files: Vec<_> = (0..50).map(|_| file()).collect();
        let ids: Vec<_> = files.iter().map(id).collect();
        spawner.listen_fds(files.into_iter().map(|file| ("a", file)));
        let shim = spawner.spawn().expect("spawn");
        let exit = reaped(shim.child.process());
        let table = witness.read(exit.status.expect("own child"));
        let seen: Vec<_> = (3..53).map(|number| table[&number]).collect();
        assert_eq!(seen, ids);
        assert_eq!(
            table.len(),
            3 + 50 + 2,
            "the streams, and the watchdog's two: {table:?}"
        );
    }
);

by_every_method!(
    fn variables_of_this_process_and_of_the_caller_do_not_get_through() {
        for name in [
            "LISTEN_FDS",
            "LISTEN_FDNAMES",
            "LISTEN_PID",
            "LISTEN_PIDFDID",
        ] {
            // SAFETY: one thread.
            unsafe { std::env::set_var(name, "7") };
        }
        for changed in [false, true] {
            let told = told(|shell| {
                shell.listen_fds([("http", file())]);
                if changed {
                    shell.env("LISTEN_FDS", "9").env("LISTEN_PID", "1");
                }
            });
            assert_eq!(told["LISTEN_FDS"], "1");
            assert_eq!(told["LISTEN_PID"], told["PID"]);
            assert_eq!(told.len(), 4, "{told:?}");
        }
        // They are nobody's business without.
        let told = told(|shell| {
            shell.listen_fds(Vec::<(String, std::os::fd::OwnedFd)>::new());
        });
        assert_eq!(told["LISTEN_FDS"], "7");
    }
);

by_every_method!(
    fn pid_is_the_one_that_the_child_has_in_a_namespace_of_its_own() {
        if !needs_root() {
            return;
        }
        // SAFETY: a plain number; the next child is pid 1 of the new namespace.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWPID) }, 0);
        let told = told(|shell| {
            shell.listen_fds([("http", file())]).detached(true);
        });
        assert_eq!(
            (told["PID"].as_str(), told["LISTEN_PID"].as_str()),
            ("1", "1")
        );
    }
);

by_every_method!(
    fn names_that_would_not_arrive_are_refused() {
        let long = "x".repeat(256);
        for name in ["", "a:b", "a\nb", "a\0b", "\u{e4}", "\u{7f}", &long] {
            let mut spawner = spawner_of("/bin/true");
            let error = fails(name, spawner.listen_fds([(name, file())]));
            assert_eq!(error.stage(), Stage::Arguments, "{name:?}: {error}");
        }
        let longest = "x".repeat(255);
        ends_well(
            &spawner_of("/bin/true")
                .listen_fds([(longest, file())])
                .spawn()
                .expect("spawn"),
        );
    }
);

by_every_method!(
    fn number_that_the_caller_has_given_away_is_refused() {
        let mut spawner = spawner_of("/bin/true");
        spawner
            .listen_fds([("a", file()), ("b", file())])
            .map_fd(file(), 4);
        let error = fails("4 twice", &mut spawner);
        assert_eq!(
            (error.stage(), error.raw_os_error()),
            (Stage::Descriptors, None),
            "{error}"
        );
    }
);

#[test]
fn supervised_program_would_not_be_the_one_that_is_named() {
    let supervisor = Supervisor::at(env!("CARGO_BIN_EXE_shim_under_test"));
    let spawned = ShimSpawner::new("/bin/true")
        .listen_fds([("a", file())])
        .supervised(supervisor)
        .spawn();
    let error: SpawnError = spawned.expect_err("another pid");
    assert_eq!(error.stage(), Stage::Arguments, "{error}");
}

fn says_hello(service: &str, greetings: [&str; 2]) {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("bind"));
    let addresses = [0, 1].map(|index: usize| listeners[index].local_addr().expect("an address"));
    let mut spawner = spawner_of(service);
    let names = ["http", "admin"];
    spawner
        .stdin(Stdio::null())
        .listen_fds(names.into_iter().zip(listeners));
    let shim = spawner.spawn().expect("spawn");
    for (address, greeting) in addresses.iter().zip(greetings) {
        let mut said = String::new();
        let mut stream = TcpStream::connect(address).expect("connect");
        stream
            .set_read_timeout(Some(workspace_tests::time_limit()))
            .expect("SO_RCVTIMEO");
        stream.read_to_string(&mut said).expect("read");
        assert_eq!(said, greeting, "{:?}", method());
    }
    ends_well(&shim);
}

by_every_method!(
    fn sd_notify_takes_them() {
        says_hello(
            env!("CARGO_BIN_EXE_fd_listener"),
            ["hello from 3", "hello from 4"],
        );
    }
);

by_every_method!(
    fn listenfd_takes_them() {
        says_hello(
            env!("CARGO_BIN_EXE_listenfd_service"),
            ["hello from 0", "hello from 1"],
        );
    }
);

#[test]
fn child_finds_what_systemd_socket_activate_gives() {
    alone!({
        if !installed(&["systemd-socket-activate"]) {
            return;
        }
        let folder = Folder::new();
        let socket = folder.join("socket");
        let mut command = Command::new("systemd-socket-activate");
        command
            .args(["--fdname=http", "-l"])
            .arg(&socket)
            .args(["/bin/sh", "-c", TELL])
            .stdout(StdStdio::piped())
            .stderr(StdStdio::null());
        let mut activated = Guard::spawn(&mut command);
        // It executes the program when somebody comes.
        let _client = until("it listens", || UnixStream::connect(&socket).ok());
        let lines = BufReader::new(activated.stdout.take().expect("piped")).lines();
        let text: Vec<String> = lines.map(|line| line.expect("read")).collect();
        let mut theirs = variables(&text.join("\n"));
        let mut ours = {
            let mut shell = ShimSpawner::new("/bin/sh");
            shell.args(["-c", TELL]).listen_fds([("http", file())]);
            variables(&output(&mut shell))
        };
        for told in [&mut theirs, &mut ours] {
            assert_eq!(told.get("LISTEN_PID"), told.get("PID"));
            for name in ["LISTEN_PID", "PID", "LISTEN_PIDFDID"] {
                told.remove(name);
            }
        }
        assert_eq!(ours, theirs);
    });
}
