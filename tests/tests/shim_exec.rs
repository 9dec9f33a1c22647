//! A file that is no program is an error, and no shell is asked to make sense of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use fd_preserve::PreserveFds;
use shim_spawner::{Engine, ShimSpawner, Stage};
use workspace_tests::{Folder, reaped};

/// Executable files in a folder of their own, removed with it.
struct Files(Folder);

impl Files {
    fn new() -> Files {
        Files(Folder::new())
    }

    fn add(&self, name: &str, content: &[u8]) -> PathBuf {
        let file = self.0.join(name);
        fs::write(&file, content).expect("write");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("chmod");
        file
    }

    /// One of each kind that the kernel answers `ENOEXEC` to.
    fn without_a_header(&self) -> [PathBuf; 5] {
        let program = fs::read("/bin/true").expect("a program");
        let mut foreign = program.clone();
        // `e_machine`: a number that no machine has, and that no emulator is registered for.
        foreign[18..20].copy_from_slice(&[0xfe, 0xfe]);
        [
            self.add("script", b"exit 0\n"),
            self.add("empty", b""),
            self.add("text", b"hello, world\n"),
            self.add("damaged", &program[..32]),
            self.add("foreign", &foreign),
        ]
    }
}

#[test]
fn file_without_a_header_is_an_error_of_the_exec_that_names_it() {
    let files = Files::new();
    for file in files.without_a_header() {
        for engine in [Engine::Vfork, Engine::Fork] {
            let spawned = ShimSpawner::new(&file).engine(engine).spawn();
            let error = spawned.expect_err("no program");
            assert_eq!(error.stage(), Stage::Exec, "{error}");
            assert_eq!(error.raw_os_error(), Some(libc::ENOEXEC), "{error}");
            assert_eq!(error.path(), Some(file.as_path()));
        }
    }
}

#[test]
fn script_that_names_its_interpreter_is_run() {
    let files = Files::new();
    let script = files.add("script", b"#!/bin/sh\nexit 7\n");
    for engine in [Engine::Vfork, Engine::Fork] {
        let shim = ShimSpawner::new(&script).engine(engine).spawn();
        let shim = shim.expect("a program");
        let exit = reaped(shim.child.process());
        assert_eq!(exit.status.expect("own child").code(), Some(7));
    }
}

/// The answer that a shim gets is std's own.
#[test]
fn std_without_a_closure_refuses_a_file_without_a_header() {
    let files = Files::new();
    for file in files.without_a_header() {
        let spawned = Command::new(&file).spawn().map(drop);
        let error = spawned.expect_err("no program");
        assert_eq!(error.raw_os_error(), Some(libc::ENOEXEC), "{error}");
    }
}

/// With a closure std calls execvp(3), and a plan of fd-preserve's is one: its documentation says
/// so.
#[cfg(target_env = "gnu")]
#[test]
fn std_with_a_closure_has_the_shell_run_a_file_without_a_header() {
    let files = Files::new();
    let script = files.add("script", b"exit 7\n");
    let mut bare = Command::new(&script);
    // SAFETY: does nothing.
    unsafe { bare.pre_exec(|| Ok(())) };
    let mut planned = Command::new(&script);
    PreserveFds::new().apply(&mut planned).expect("apply");
    for mut command in [bare, planned] {
        let status = command.stdin(Stdio::null()).status().expect("spawn");
        assert_eq!(status.code(), Some(7));
    }
}
