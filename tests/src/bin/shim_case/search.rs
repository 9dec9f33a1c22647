//! How the program is found: as std's `Command` finds it, which is how execvp(3) does.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use shim_spawner::{Stage, Stdio};
use workspace_tests::namespace;
use workspace_tests::scenario::Scenario;

use super::snapshot::spawner_of;

pub const SCENARIOS: &[Scenario] = &[
    ("rung_search", search),
    ("rung_search_without_a_shell", search_without_a_shell),
];

fn root() -> PathBuf {
    std::env::temp_dir().join(format!("shim-search-{}", std::process::id()))
}

/// `tool` in a folder of its own.
fn script(root: &Path, folder: &str, text: &str, mode: u32) {
    let folder = root.join(folder);
    fs::create_dir_all(&folder).expect("mkdir");
    let tool = folder.join("tool");
    fs::write(&tool, text).expect("write");
    fs::set_permissions(&tool, fs::Permissions::from_mode(mode)).expect("chmod");
}

/// The program is found where std finds it, and not found for the same reason.
fn search() {
    let root = root();
    let script = |folder: &str, text: &str, mode: u32| script(&root, folder, text, mode);
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
        let default = same_as_std(program, Some(None), &root);
        if program == "true" {
            assert_eq!((inherited, default), (Ok(String::new()), Ok(String::new())));
        }
    }
    fs::remove_dir_all(&root).expect("remove");
}

/// `path`: as it is, removed, or set.
fn same_as_std(program: &str, path: Option<Option<&str>>, folder: &Path) -> Result<String, i32> {
    found_as_std_does(program, &["a", "b"], path, folder)
}

fn found_as_std_does(
    program: &str,
    args: &[&str],
    path: Option<Option<&str>>,
    folder: &Path,
) -> Result<String, i32> {
    let mut spawner = spawner_of(program);
    spawner.args(args).current_dir(folder);
    let mut command = Command::new(program);
    command.args(args).current_dir(folder);
    // SAFETY: does nothing. Without a closure std asks posix_spawnp, which knows no shell.
    unsafe { command.pre_exec(|| Ok(())) };
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
    let expected = command
        .output()
        .map(|output| String::from_utf8(output.stdout).expect("text"))
        .map_err(|error| error.raw_os_error().expect("an errno"));
    let found = match spawner.stdout(Stdio::piped()).spawn() {
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
    };
    assert_eq!(found, expected, "{program:?} in {path:?} from {folder:?}");
    found
}

/// A file that the shell would have to run, where the shell may not be executed: the search goes on, and what is found
/// next has the name that the caller gave it.
fn search_without_a_shell() {
    if !namespace::unshare_mounts() {
        return;
    }
    namespace::cover(c"/bin/sh", c"/dev/null");
    let root = root();
    script(&root, "plain", "echo plain\n", 0o755);
    fs::create_dir_all(root.join("cat")).expect("mkdir");
    symlink("/bin/cat", root.join("cat/tool")).expect("symlink");
    let path = format!("{0}/plain:{0}/cat", root.display());
    let found = found_as_std_does("tool", &["/proc/self/cmdline"], Some(Some(&path)), &root);
    assert_eq!(found.as_deref(), Ok("tool\0/proc/self/cmdline\0"));
    fs::remove_dir_all(&root).expect("remove");
}
