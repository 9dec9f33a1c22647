//! Programs without a watchdog of their own, spawned under a supervisor: the whole tree ends with
//! the runtime and by `stop`, and a spawn that fails says whose fault it was.

use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio as StdStdio;
use std::time::Duration;
use std::{env, fs};

use pidfd_watcher::{Process, Signal};
use rustix::process::Pid;
use shim_spawner::{
    Contain, Level, OnExit, ShimHandler, ShimIdentity, ShimSpawner, Stage, Stdio, StopPolicy,
    StopTarget, Supervisor,
};
use workspace_tests::orders::Order;
use workspace_tests::trees::Tree;
use workspace_tests::{Folder, Guard, alone, time_limit, until};

const SHIM: &str = env!("CARGO_BIN_EXE_shim_under_test");
const HOSTILE: &str = env!("CARGO_BIN_EXE_hostile_tree");
const RUNTIME: &str = env!("CARGO_BIN_EXE_tree_runtime");

/// Long enough for a handler that writes a file.
const GRACE: Duration = Duration::from_millis(500);

/// The hostile tree's leader, not yet supervised.
fn hostile(tree: &Tree) -> ShimSpawner {
    let folder = tree.folder().to_owned();
    let mut spawner = ShimSpawner::new(HOSTILE);
    spawner
        .arg(Order::HostileTree { folder }.argument())
        .stdin(Stdio::null())
        .stop_policy(StopPolicy::new().grace(GRACE));
    spawner
}

fn shell(script: &str) -> ShimSpawner {
    let mut spawner = ShimSpawner::new("sh");
    spawner.args(["-c", script]).stdin(Stdio::null());
    spawner.supervised(Supervisor::at(SHIM));
    spawner
}

/// A runtime that supervises the hostile tree by its own program.
fn runtime(tree: &Tree, release: bool) -> Guard {
    let folder = tree.folder().to_owned();
    let leader = Order::HostileTree {
        folder: folder.clone(),
    };
    let order = Order::SupervisingRuntime {
        folder,
        command: vec![HOSTILE.to_owned(), leader.argument()],
        grace: GRACE,
        release,
    };
    Guard::spawn(order.to(RUNTIME).stdin(StdStdio::null()))
}

// The end.

#[test]
fn killed_runtime_takes_the_whole_tree_along_and_the_handler_has_run() {
    let tree = Tree::new();
    let mut runtime = runtime(&tree, false);
    tree.ready();
    runtime.kill().expect("own child");
    runtime.wait_deadline();
    tree.gone();
    assert!(tree.has("term"), "SIGTERM came first");
}

#[test]
fn stop_ends_the_whole_tree_and_reports_the_exit_of_the_program() {
    let tree = Tree::new();
    let spawned = hostile(&tree).supervised(Supervisor::at(SHIM)).spawn();
    let mut shim = ShimHandler::new(spawned.expect("spawn"));
    tree.ready();
    until("the tree and its supervisor live", || {
        (tree.living().len() == 7 + 3).then_some(())
    });
    let report = shim.stop().expect("stop");
    // At once, without a wait: it came back when the tree was gone.
    assert!(tree.living().is_empty());
    assert_eq!(report.target(), StopTarget::Tree);
    assert!(report.is_empty(), "{report:?}");
    // One of the tree ignores SIGTERM.
    assert!(report.killed().count() >= Some(1), "{report:?}");
    assert_eq!(report.exit().status.expect("own child").code(), Some(42));
    assert!(tree.has("term"));
}

#[test]
fn stop_signal_of_the_policy_is_what_the_tree_gets() {
    let mut spawner = shell("trap 'exit 9' INT; echo ready; while :; do sleep 0.01; done");
    let policy = StopPolicy::new().signal(shim_spawner::Signal::INT);
    spawner.stdout(Stdio::piped()).stop_policy(policy);
    let mut shim = ShimHandler::new(spawner.spawn().expect("spawn"));
    let mut said = BufReader::new(shim.take_stdout().expect("piped")).lines();
    assert_eq!(said.next().expect("a line").expect("read"), "ready");
    let exit = shim.stop().expect("stop").exit();
    assert_eq!(exit.status.expect("own child").code(), Some(9));
}

#[test]
fn stop_signal_of_the_policy_is_what_the_tree_gets_when_its_runtime_lets_go() {
    let mut spawner = shell("trap 'exit 9' INT; echo ready; while :; do sleep 0.01; done");
    let policy = StopPolicy::new().signal(shim_spawner::Signal::INT);
    spawner.stdout(Stdio::piped()).stop_policy(policy);
    let mut shim = ShimHandler::new(spawner.spawn().expect("spawn"));
    let mut said = BufReader::new(shim.take_stdout().expect("piped")).lines();
    assert_eq!(said.next().expect("a line").expect("read"), "ready");
    drop(shim.take_keepalive().expect("attached"));
    let exit = shim.wait().expect("wait");
    assert_eq!(exit.status.expect("own child").code(), Some(9));
}

/// INNER alone has read the policy: whoever takes over has it from there.
#[test]
fn stop_signal_of_the_policy_is_what_the_tree_gets_from_who_takes_over() {
    let mut spawner = shell("trap 'exit 9' INT; echo $PPID; while :; do sleep 0.01; done");
    let policy = StopPolicy::new().signal(shim_spawner::Signal::INT);
    spawner.stdout(Stdio::piped()).stop_policy(policy);
    let mut shim = ShimHandler::new(spawner.spawn().expect("spawn"));
    let mut said = BufReader::new(shim.take_stdout().expect("piped")).lines();
    let inner = said.next().expect("a line").expect("read");
    let inner = Pid::from_raw(inner.parse().expect("a pid")).expect("a pid");
    let inner = Process::open(inner).expect("INNER lives");
    inner.send_signal(Signal::KILL).expect("send");
    let exit = shim.wait().expect("wait");
    assert_eq!(exit.status.expect("own child").code(), Some(9));
}

#[test]
fn dropped_handler_takes_the_whole_tree_along() {
    let tree = Tree::new();
    let spawned = hostile(&tree).supervised(Supervisor::at(SHIM)).spawn();
    tree.ready();
    drop(ShimHandler::new(spawned.expect("spawn")));
    tree.gone();
    assert!(tree.has("term"));
}

#[test]
fn released_tree_outlives_its_runtime_and_is_stopped_by_who_adopts_it() {
    let tree = Tree::new();
    let mut runtime = runtime(&tree, true);
    tree.ready();
    until("it is released", || tree.has("released").then_some(()));
    runtime.kill().expect("own child");
    runtime.wait_deadline();
    let identity = ShimIdentity::load(tree.folder().join("identity")).expect("an identity");
    let mut shim = ShimHandler::adopt(&identity).expect("it lives");
    // Longer than a tree that was told has.
    assert!(
        shim.process()
            .wait_timeout(GRACE * 2)
            .expect("wait")
            .is_none()
    );
    assert!(!tree.has("term"), "nobody has told it");
    let report = shim.stop().expect("stop");
    assert_eq!(report.target(), StopTarget::Tree);
    assert_eq!(
        report.left().count(),
        None,
        "the reports went to the first handler"
    );
    assert!(tree.living().is_empty());
    assert!(tree.has("term"));
}

// What is promised.

#[test]
fn level_is_that_of_what_was_required_and_none_when_nobody_is_told() {
    let at = || Supervisor::at(SHIM);
    assert_eq!(at().level(), Level::Good);
    assert_eq!(at().contain(Contain::PidNamespace).level(), Level::Certain);
    assert_eq!(at().contain(Contain::Nothing).level(), Level::Told);
    assert!(Level::Told < Level::Good && Level::Good < Level::Certain);

    let spawned = shell("sleep 1000").spawn().expect("spawn");
    assert_eq!(spawned.level(), Some(Level::Good));
    let mut shim = ShimHandler::new(spawned);
    assert_eq!(shim.level(), Some(Level::Good));
    shim.release().expect("release");
    assert_eq!(shim.level(), None);
    assert!(shim.stop().expect("stop").is_empty());

    let plain = ShimSpawner::new("cat").stdin(Stdio::piped()).spawn();
    assert_eq!(plain.expect("spawn").level(), Some(Level::Told));
}

// What the program gets.

#[test]
fn mapped_descriptor_and_configuration_reach_the_program_and_the_watchdog_does_not() {
    let (mut reader, writer) = io::pipe().expect("a pipe");
    let script = "for n in /proc/self/fd/*; do echo ${n##*/}; done >&5; \
                  n=${SHIM_CONFIG#fd=}; n=${n%%,*}; cat /dev/fd/$n >&5; env | grep -c WATCHDOG \
                  >&5; :";
    let mut spawner = shell(script);
    spawner.map_fd(writer, 5).config(b"secret\n");
    let mut shim = ShimHandler::new(spawner.spawn().expect("spawn"));
    drop(spawner);
    let mut said = String::new();
    reader.read_to_string(&mut said).expect("read");
    let said: Vec<&str> = said.lines().collect();
    // 3 or more: the shell's copy of its output, and the folder that it reads.
    let given: Vec<&str> = said.iter().copied().filter(|n| n.len() == 2).collect();
    assert_eq!(given.iter().filter(|n| **n > "20").count(), 1, "{said:?}");
    assert!(said.contains(&"5") && said.contains(&"secret"), "{said:?}");
    assert_eq!(said.last(), Some(&"0"), "{said:?}");
    let status = shim.wait().expect("wait").status.expect("own child");
    assert!(status.success(), "{status}");
}

#[test]
fn end_of_a_descriptor_that_the_program_closed_is_seen_while_it_lives() {
    let (mut reader, writer) = io::pipe().expect("a pipe");
    let mut spawner = shell("echo ready >&5; exec 5>&-; exec sleep 1000");
    spawner.map_fd(writer, 5);
    let mut shim = ShimHandler::new(spawner.spawn().expect("spawn"));
    drop(spawner);
    let mut said = String::new();
    reader.read_to_string(&mut said).expect("read");
    assert_eq!(said, "ready\n");
    assert!(shim.try_wait().expect("wait").is_none());
    assert!(shim.stop().expect("stop").is_empty());
}

// Errors of the spawn.

#[test]
fn missing_program_is_an_error_of_the_spawn_that_names_it() {
    for (program, errno) in [
        ("no-such-program", Some(libc::ENOENT)),
        ("/no/such/program", Some(libc::ENOENT)),
        ("/etc/passwd", None),
    ] {
        let folder = Folder::new();
        let mut spawner = ShimSpawner::new(program);
        spawner
            .stderr(Stdio::null())
            .identity_file(folder.join("identity"))
            .supervised(Supervisor::at(SHIM));
        let error = spawner.spawn().expect_err("not to be executed");
        assert_eq!(error.stage(), Stage::Exec, "{error}");
        assert_eq!(error.path(), Some(Path::new(program)));
        assert_eq!(error.raw_os_error(), errno);
        let expected = match errno {
            Some(_) => io::ErrorKind::NotFound,
            None => io::ErrorKind::PermissionDenied,
        };
        assert_eq!(io::Error::from(error).kind(), expected);
        assert!(folder.names().is_empty(), "{:?}", folder.names());
    }
}

#[test]
fn missing_supervisor_is_an_error_that_names_the_path() {
    let error = shell("true")
        .supervised(Supervisor::at("/no/such/shim"))
        .spawn()
        .expect_err("there is none");
    assert_eq!(error.stage(), Stage::Supervisor);
    assert_eq!(error.path(), Some(Path::new("/no/such/shim")));
    assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
}

#[test]
fn supervisor_is_found_in_path_and_if_not_the_places_are_named() {
    alone!({
        let folder = Folder::new();
        let path = folder.path().to_owned();
        // SAFETY: this process has one thread.
        unsafe {
            env::set_var(
                "PATH",
                env::join_paths([&path, Path::new("/bin")]).expect("a path"),
            )
        };
        let mut spawner = shell("exit 7");
        spawner.supervised(Supervisor::found());

        let error = spawner.spawn().expect_err("there is none");
        assert_eq!(error.stage(), Stage::Supervisor);
        let said = std::error::Error::source(&error)
            .expect("a cause")
            .to_string();
        let program = env::current_exe().expect("a program");
        for folder in [
            program.parent().expect("a folder"),
            &path,
            Path::new("/bin"),
        ] {
            let place = folder.join("watchdog-shim");
            assert!(said.contains(place.to_str().expect("plain")), "{said}");
        }

        symlink(SHIM, path.join("watchdog-shim")).expect("a link");
        let mut shim = ShimHandler::new(spawner.spawn().expect("spawn"));
        assert_eq!(
            shim.wait().expect("wait").status.expect("ours").code(),
            Some(7)
        );
    });
}

#[test]
fn requirement_that_is_not_met_is_an_error_of_the_spawn_with_exit_code_125() {
    let supervisor = Supervisor::at(SHIM).contain(Contain::Subreaper);
    let error = shell("true")
        .stderr(Stdio::null())
        .supervised(supervisor.require(Level::Certain))
        .spawn()
        .expect_err("a subreaper is not certain");
    assert_eq!(error.stage(), Stage::Supervisor);
    let status = error.exit_status().expect("it ended");
    assert_eq!(status.code(), Some(125), "{error}");
}

#[test]
fn supervisor_that_says_nothing_is_killed_when_its_time_is_over() {
    let tree = Tree::new();
    let mute = tree.folder().join("mute");
    // Its command line has the folder's name: who is left would be found.
    let script = format!(
        "#!/bin/sh\nexec sh -c 'read x </dev/zero; :' {}\n",
        mute.display()
    );
    fs::write(&mute, script).expect("write");
    fs::set_permissions(&mute, fs::Permissions::from_mode(0o755)).expect("chmod");
    let supervisor = Supervisor::at(&mute).start_timeout(Duration::from_millis(50));
    let error = shell("true")
        .supervised(supervisor)
        .spawn()
        .expect_err("it says nothing");
    assert_eq!(error.stage(), Stage::Supervisor);
    assert_eq!(error.path(), Some(mute.as_path()));
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::TimedOut);
    assert!(tree.living().is_empty());
}

#[test]
fn supervisor_that_says_something_else_without_end_is_killed() {
    let tree = Tree::new();
    let babbler = tree.folder().join("babbler");
    let script = "#!/bin/sh\nfor word; do case $word in --status-fd=*) fd=${word#*=};; esac; done\n\
                  exec cat /dev/zero >/proc/self/fd/$fd\n";
    fs::write(&babbler, script).expect("write");
    fs::set_permissions(&babbler, fs::Permissions::from_mode(0o755)).expect("chmod");
    let spawned = shell("true").supervised(Supervisor::at(&babbler)).spawn();
    let error = spawned.expect_err("no report of a supervisor");
    assert_eq!(error.stage(), Stage::Supervisor);
    assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidData);
    assert!(tree.living().is_empty());
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_made() {
    let at = || Supervisor::at(SHIM);
    let nothing = at().contain(Contain::Nothing);
    for spawner in [
        shell("true").detached(true),
        shell("true").supervised(nothing.require(Level::Good)),
        shell("true").supervised(at().contain(Contain::PidNamespace).on_exit(OnExit::Leave)),
    ] {
        let error = spawner.spawn().expect_err("refused");
        assert_eq!(error.stage(), Stage::Arguments, "{error}");
    }
    let mut shim = ShimHandler::new(shell("exit 3").spawn().expect("it can be"));
    let exit = shim.process().wait_timeout(time_limit()).expect("wait");
    assert!(exit.is_some());
    assert_eq!(
        shim.wait().expect("wait").status.expect("ours").code(),
        Some(3)
    );
}
