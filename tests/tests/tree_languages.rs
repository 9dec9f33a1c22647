//! Hosts in other languages, the examples of watchdog-shim: the host is killed by SIGKILL, and
//! neither its server nor what the server started lives on.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use workspace_tests::installed::installed;
use workspace_tests::trees::Tree;
use workspace_tests::{Folder, Guard, text, until};

const SHIM: &str = env!("CARGO_BIN_EXE_shim_under_test");
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../watchdog-shim/examples");

/// What a host starts its server by.
const NO_SHIM: &str = "#!/bin/sh
# Takes the options of a shim, and is none.
while [ \"$1\" != -- ]; do shift; done
shift
exec \"$@\"
";

/// How a host of a language is started; `None`, with the reason on standard error, where that
/// cannot be done here.
fn host(language: &str, folder: &Folder) -> Option<Command> {
    let example = |file: &str| format!("{EXAMPLES}/{file}");
    let interpreted = |program: &str, file: &str| {
        let mut command = Command::new(program);
        command.arg(example(file));
        installed(&["python3", program]).then_some(command)
    };
    match language {
        "python" => interpreted("python3", "host.py"),
        "node" => interpreted("node", "host.js"),
        "shell" => interpreted("sh", "host.sh"),
        "go" => {
            if !installed(&["python3", "go"]) {
                return None;
            }
            let program = folder.join("host");
            let built = Command::new("go")
                .args(["build", "-o", &text(&program), &example("host.go")])
                // The standard library alone, and nothing from the network.
                .env("GOPROXY", "off")
                .env("GOFLAGS", "-mod=mod")
                .env("CGO_ENABLED", "0")
                .env("GOCACHE", folder.join("cache"))
                .stdin(Stdio::null())
                .output()
                .expect("run go");
            assert!(built.status.success(), "{built:?}");
            Some(Command::new(program))
        }
        other => panic!("no host in {other}"),
    }
}

/// Runs a host until its server has answered, and kills it.
fn host_is_killed(mut host: Command, shim: &str, watch: &str, manners: &str, tree: &Tree) {
    host.args([shim, watch, "python3", &format!("{EXAMPLES}/server.py")])
        .arg(manners)
        .arg(tree.folder())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut host = Guard::spawn(&mut host);
    let mut said = BufReader::new(host.stdout.take().expect("piped")).lines();
    let answer = said.next().expect("an answer").expect("read");
    assert!(answer.contains("hello"), "{answer}");
    host.kill().expect("own child");
    host.wait_deadline();
}

/// With the shim, nobody is left.
fn server_ends(language: &str, watch: &str, manners: &str) {
    let (folder, tree) = (Folder::new(), Tree::new());
    if let Some(host) = host(language, &folder) {
        host_is_killed(host, SHIM, watch, manners, &tree);
        tree.gone();
    }
}

/// Without it, so many are.
fn server_lives_on(language: &str, manners: &str, left: usize) {
    let (folder, tree) = (Folder::new(), Tree::new());
    let Some(host) = host(language, &folder) else {
        return;
    };
    let no_shim = folder.join("no-shim");
    fs::write(&no_shim, NO_SHIM).expect("write a script");
    fs::set_permissions(&no_shim, fs::Permissions::from_mode(0o755)).expect("chmod");
    host_is_killed(host, &text(&no_shim), "stdin", manners, &tree);
    // All that the host's end does to its server has been done.
    until("the server has seen the end of its input", || {
        tree.has("eof").then_some(())
    });
    until("those who end have ended", || {
        (tree.living().len() <= left).then_some(())
    });
    assert_eq!(tree.living().len(), left);
}

macro_rules! hosts {
    ($($language:ident)*) => {
        $(mod $language {
            use super::{server_ends, server_lives_on};

            const LANGUAGE: &str = stringify!($language);

            #[test]
            fn server_ends_with_its_host_by_standard_input() {
                server_ends(LANGUAGE, "stdin", "polite");
            }

            #[test]
            fn server_ends_with_its_host_by_a_pipe_that_is_passed_on() {
                server_ends(LANGUAGE, "fd", "polite");
            }

            #[test]
            fn deaf_server_ends_with_its_host_by_standard_input() {
                server_ends(LANGUAGE, "stdin", "deaf");
            }

            #[test]
            fn deaf_server_ends_with_its_host_by_a_pipe_that_is_passed_on() {
                server_ends(LANGUAGE, "fd", "deaf");
            }

            #[test]
            fn without_the_shim_the_worker_of_a_polite_server_outlives_the_host() {
                server_lives_on(LANGUAGE, "polite", 1);
            }

            #[test]
            fn without_the_shim_a_deaf_server_and_its_worker_outlive_the_host() {
                server_lives_on(LANGUAGE, "deaf", 2);
            }
        })*
    };
}

hosts! { python node shell go }
