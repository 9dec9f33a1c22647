//! How the program is found: as std's `Command` finds it, which is how execvp(3) does, but for the
//! shell that execvp(3) asks to run a file without a header.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::{fs, io};

use shim_spawner::{ShimSpawner, Stage, Stdio};
use workspace_tests::clone_method::{CloneMethod, method};
use workspace_tests::{Folder, by_every_method};

use super::snapshot::spawner_of;

/// `tool` in a folder of its own.
fn script(root: &Path, folder: &str, text: &str, mode: u32) {
    let folder = root.join(folder);
    fs::create_dir_all(&folder).expect("mkdir");
    let tool = folder.join("tool");
    fs::write(&tool, text).expect("write");
    fs::set_permissions(&tool, fs::Permissions::from_mode(mode)).expect("chmod");
}

by_every_method!(
    /// The program is found where std finds it, and not found for the same reason.
    fn program_is_found_where_std_finds_it() {
        let folder = Folder::new();
        let root = folder.path();
        let script = |folder: &str, text: &str, mode: u32| script(root, folder, text, mode);
        script("denied", "#!/bin/sh\necho denied\n", 0o644);
        script("plain", "echo plain \"$0\" \"$@\"\n", 0o755);
        script("header", "#!/bin/sh\necho header \"$@\"\n", 0o755);
        script("bad", "#!/no/such/interpreter\n", 0o755);
        fs::create_dir_all(root.join("folder/tool")).expect("mkdir");
        let at = |folder: &str| root.join(folder).display().to_string();
        let long = "x".repeat(5_000);
        let paths = [
            at("denied"),
            at("plain"),
            at("header"),
            at("bad"),
            at("folder"),
            format!("{}:{}", at("denied"), at("header")),
            format!("{}:{}", at("header"), at("denied")),
            format!("{}:{}", at("bad"), at("plain")),
            format!("/nonexistent:/dev/null:{}", at("plain")),
            format!("{}:{}:/nonexistent", at("denied"), at("folder")),
            format!("/{long}:{}", at("header")),
            format!(":{}", at("denied")),
            "::".to_owned(),
            "plain:header".to_owned(),
            String::new(),
        ];
        let name = "n".repeat(300);
        for program in [
            "tool",
            "./tool",
            "plain/tool",
            "",
            "no-such-tool",
            &name,
            "true",
        ] {
            let inherited = same_as_std(program, None, &root.join("header"));
            for path in &paths {
                for folder in ["header", "."] {
                    let _ = same_as_std(program, Some(Some(path)), &root.join(folder));
                }
            }
            let default = same_as_std(program, Some(None), root);
            if program == "true" {
                assert_eq!((inherited, default), (Ok(String::new()), Ok(String::new())));
            }
        }
    }
);

/// `path`: as it is, removed, or set. It is the child's, and then this process's own.
fn same_as_std(program: &str, path: Option<Option<&str>>, folder: &Path) -> Result<String, i32> {
    let mut spawner = spawner_of(program);
    let mut command = Command::new(program);
    match path {
        None => {}
        Some(None) => {
            spawner.env_remove("PATH");
            command.env_remove("PATH");
        }
        Some(Some(path)) => {
            spawner.env("PATH", path);
            command.env("PATH", path);
        }
    }
    // SAFETY: does nothing. With a closure std forks, and calls execvp(3), which knows a shell.
    unsafe { command.pre_exec(|| Ok(())) };
    let expected = match told(command.args(ARGS).current_dir(folder)) {
        Ok(said) if said.starts_with("plain") => Err(libc::ENOEXEC),
        expected => expected,
    };
    let found = found(spawner.args(ARGS).current_dir(folder));
    assert_eq!(found, expected, "{program:?} in {path:?} from {folder:?}");

    if matches!(method(), CloneMethod::Copy | CloneMethod::Fork) {
        // These refuse the clone that posix_spawn(3) makes, too.
        return found;
    }
    let own = std::env::var_os("PATH");
    set_path(path.map_or(own.as_deref(), |path| path.map(OsStr::new)));
    // With nothing changed, std calls posix_spawnp(3), which knows none.
    let expected = told(Command::new(program).args(ARGS).current_dir(folder));
    let by_own = self::found(spawner_of(program).args(ARGS).current_dir(folder));
    set_path(own.as_deref());
    assert_eq!(by_own, expected, "{program:?} in {path:?} from {folder:?}");
    found
}

const ARGS: [&str; 2] = ["a", "b"];

fn set_path(path: Option<&OsStr>) {
    // SAFETY: this fixture has one thread.
    unsafe {
        match path {
            Some(path) => std::env::set_var("PATH", path),
            None => std::env::remove_var("PATH"),
        }
    }
}

/// What a program of std's says, or why there is none.
fn told(command: &mut Command) -> Result<String, i32> {
    command
        .output()
        .map(|output| String::from_utf8(output.stdout).expect("text"))
        .map_err(|error| error.raw_os_error().expect("an errno"))
}

/// The same of ours.
fn found(spawner: &mut ShimSpawner) -> Result<String, i32> {
    match spawner.stdout(Stdio::piped()).spawn() {
        Ok(mut shim) => {
            let stdout: OwnedFd = shim.child.stdout.take().expect("piped").into();
            let text = io::read_to_string(fs::File::from(stdout)).expect("read");
            shim.child.process().wait().expect("poll");
            Ok(text)
        }
        Err(error) => {
            assert_eq!(error.stage(), Stage::Exec, "{error}");
            Err(error.raw_os_error().expect("an errno"))
        }
    }
}
