//! Builds, and what a package manager starts: nobody of them outlives the runtime, or the shim.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use workspace_tests::in_each_containment;
use workspace_tests::killings::{Program, ready_file, words};
use workspace_tests::play::{Cast, Play, Who};

const SHIM: &str = env!("CARGO_BIN_EXE_shim_under_test");
const CAST: Cast = Cast {
    shim: SHIM,
    runtime: env!("CARGO_BIN_EXE_tree_runtime"),
};

/// Eight jobs. One is a sub-make, whose recipe cleans up on SIGINT; one ignores it.
const MAKEFILE: &str = "
all: half deaf sub one two three four five
half:
	echo begun > $@; sleep 1000
deaf:
	trap '' INT; sleep 1000
sub:
	$(MAKE) -f sub.mk
one two three four five:
	sleep 1000
.PHONY: all deaf sub one two three four five
";
const SUB_MAKEFILE: &str = "
all:
	trap 'echo done > cleaned; exit 1' INT; echo yes > waiting; sleep 1000 & wait
.PHONY: all
";

/// A user stops a build by SIGINT.
fn make(contain: &'static str) {
    let command = |folder: &Path| {
        fs::write(folder.join("Makefile"), MAKEFILE).expect("own folder");
        fs::write(folder.join("sub.mk"), SUB_MAKEFILE).expect("own folder");
        words(["make", "-j8", "-C", folder.to_str().expect("a plain path")])
    };
    let is_ready = |play: &Play, folder: &Path| {
        let wrote = |file| folder.join(file).exists();
        wrote("half") && wrote("waiting") && play.named("sleep").len() >= 8
    };
    let program = Program {
        through: &[],
        options: &["--stop-signal=INT"],
        command: &command,
        is_ready: &is_ready,
        // The recipe has cleaned up, and make has removed what was made by half.
        ended_well: &|folder| folder.join("cleaned").exists() && !folder.join("half").exists(),
    };
    program.leaves_nobody(CAST, contain, Who::survived_in(contain));
}

in_each_containment! { SHIM, &["make"], make:
    build_with_a_sub_make_that_traps_int_is_stopped in "subreaper";
    build_with_a_sub_make_that_traps_int_is_stopped_in_a_cgroup in "cgroup";
    build_with_a_sub_make_that_traps_int_is_stopped_in_a_pid_namespace in "pidns";
}

const PACKAGE: &str = r#"{"name":"the-server","version":"1.0.0","bin":{"the-server":"server.js"}}"#;
const SERVER: &str = r"#!/usr/bin/env node
const fs = require('fs');
const folder = process.argv[2];
const server = require('http').createServer((request, answer) => answer.end('hello'));
process.on('SIGTERM', () => {
    fs.writeFileSync(`${folder}/term`, '');
    process.exit(0);
});
server.listen(0, '127.0.0.1', () => fs.writeFileSync(`${folder}/ready`, ''));
";

/// npm starts a shell, which starts the server.
fn npm(contain: &'static str) {
    let command = |folder: &Path| {
        let package = folder.join("package");
        fs::create_dir(&package).expect("own folder");
        fs::write(package.join("package.json"), PACKAGE).expect("own folder");
        let server = package.join("server.js");
        fs::write(&server, SERVER).expect("own folder");
        fs::set_permissions(&server, fs::Permissions::from_mode(0o755)).expect("own file");
        let folder = folder.to_str().expect("a plain path");
        words([
            "env",
            &format!("HOME={folder}"),
            "npm",
            "exec",
            "--yes",
            "--offline",
            "--no-update-notifier",
            &format!("--package={folder}/package"),
            "--",
            "the-server",
            folder,
        ])
    };
    let program = Program {
        through: &[],
        options: &[],
        command: &command,
        is_ready: &ready_file,
        ended_well: &|folder| folder.join("term").exists(),
    };
    program.leaves_nobody(CAST, contain, Who::survived_in(contain));
}

in_each_containment! { SHIM, &["npm", "node"], npm:
    server_that_npm_has_started_is_stopped in "subreaper";
    server_that_npm_has_started_is_stopped_in_a_cgroup in "cgroup";
    server_that_npm_has_started_is_stopped_in_a_pid_namespace in "pidns";
}
