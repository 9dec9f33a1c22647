//! What the shim refuses: one line on standard error that names the thing and the way out, an exit
//! code of the shim's own, and nothing started.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Read, read_to_string};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, error::Error, ffi::OsStr, ffi::OsString, io};

use fd_preserve::PreserveFds;
use shim_spawner::{ShimSpawner, Stage, Supervisor};
use workspace_tests::cgroups::own_cgroup;
use workspace_tests::fork::Fork;
use workspace_tests::play::can;
use workspace_tests::{Folder, Guard, alone, alone_in_pid_namespace, seccomp, text};

const SHIM: &str = env!("CARGO_BIN_EXE_shim_under_test");
const NO_SUPERVISOR: &str = env!("CARGO_BIN_EXE_no_supervisor");

/// The shim with these words and a COMMAND that would be heard of.
fn shim<T: AsRef<OsStr>>(words: impl IntoIterator<Item = T>) -> Command {
    let mut command = shim_for(words);
    command.args(["--", "echo", "started"]);
    command
}

/// The shim with these words, COMMAND among them or not.
fn shim_for<T: AsRef<OsStr>>(words: impl IntoIterator<Item = T>) -> Command {
    let mut command = Command::new(SHIM);
    command.args(words).stdin(Stdio::null());
    command
}

/// Runs it: it exits with `code`, has one line that says all of `parts`, and starts nothing.
#[track_caller]
fn refused(mut command: Command, code: i32, parts: &[&str]) {
    let output = command.output().expect("run the shim");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    let status = output.status;
    assert_eq!(status.code(), Some(code), "{command:?}: {status}: {said}");
    assert!(output.stdout.is_empty(), "{command:?} has started COMMAND");
    assert_one_line(&said, parts);
}

#[track_caller]
fn assert_one_line(said: &str, parts: &[&str]) {
    let line = said.strip_suffix('\n').expect("a line");
    assert!(line.starts_with("watchdog-shim: "), "{line}");
    assert!(!line.contains(char::is_control), "{line:?}");
    for part in parts {
        assert!(line.contains(part), "{part}: {line}");
    }
}

// The command line.

/// Each with a value that is none of its own, and a part of what is.
const VALUES: [(&str, &str, &str); 10] = [
    ("--contain", "jail", "pidns"),
    ("--require", "told", "certain"),
    ("--watch", "pipe", "fd:N"),
    ("--stop-signal", "BOOM", "SIGTERM"),
    ("--signal-to", "nobody", "group"),
    ("--stop-timeout", "soon", "500ms"),
    ("--on-exit", "panic", "leave"),
    ("--session", "old", "keep"),
    ("--status-fd", "three", "3"),
    ("--exit", "never", "mirror"),
];

#[test]
fn unknown_option_is_refused_with_the_way_to_the_known_ones() {
    for option in ["--bogus", "--bogus=1", "-x", "--Contain=auto", "--=x"] {
        let name = option.split('=').next().expect("a part");
        refused(shim([option]), 125, &[name, "--help"]);
    }
}

#[test]
fn value_that_an_option_does_not_know_is_refused_with_those_that_it_knows() {
    for (option, value, known) in VALUES {
        let joined = format!("{option}={value}");
        refused(shim([&joined]), 125, &[&joined, known]);
        refused(shim([option, value]), 125, &[&joined, known]);
        let empty = format!("{option}=");
        refused(shim([&empty]), 125, &[&empty, known]);
    }
}

#[test]
fn option_without_its_value_is_refused() {
    for (option, ..) in VALUES {
        refused(shim_for([option]), 125, &[option, "--help"]);
        // The double dash is taken for the value: no option swallows it in silence.
        refused(shim([option]), 125, &[option]);
    }
}

#[test]
fn value_of_an_option_that_takes_none_is_refused() {
    for option in ["--help", "--version", "--print-plan"] {
        refused(shim([format!("{option}=x")]), 125, &[option, "no value"]);
    }
    refused(shim(["-hx"]), 125, &["--help", "no value"]);
}

#[test]
fn option_that_is_there_twice_is_refused() {
    for words in [
        ["--require=certain", "--require=good"],
        ["--exit=shell", "--exit=shell"],
        ["--print-plan", "--print-plan"],
    ] {
        let name = words[0].split('=').next().expect("a part");
        refused(shim(words), 125, &[name, "twice"]);
    }
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    for (words, parts) in [
        (
            ["--on-exit=leave", "--contain=pidns"],
            ["--on-exit=leave", "--contain=subreaper"],
        ),
        (
            ["--contain=none", "--require=good"],
            ["--require", "--contain=none"],
        ),
    ] {
        refused(shim(words), 125, &parts);
    }
}

#[test]
fn no_time_that_makes_no_sense_is_taken() {
    for time in [
        "-1s", "1e9", "inf", "nan", ".", "s", "1.2.3", "1 s", "10S", "1d",
    ] {
        let option = format!("--stop-timeout={time}");
        refused(shim([&option]), 125, &[&option, "500ms"]);
    }
    let option = format!("--stop-timeout={}h", "9".repeat(20));
    refused(shim([&option]), 125, &[&option]);
}

#[test]
fn no_signal_that_makes_no_sense_is_taken() {
    for signal in [
        "0",
        "-1",
        "+15",
        "65",
        "32",
        "SIGSIGTERM",
        "RTMIN+31",
        "RTMIN++1",
        "15x",
    ] {
        let option = format!("--stop-signal={signal}");
        refused(shim([&option]), 125, &[&option, "SIGTERM"]);
    }
}

#[test]
fn missing_command_is_refused_with_the_usage() {
    refused(shim_for([""; 0]), 125, &["COMMAND", "[--] COMMAND"]);
    refused(shim_for(["--"]), 125, &["COMMAND", "[--] COMMAND"]);
    refused(shim_for(["--exit=shell"]), 125, &["COMMAND"]);
}

#[test]
fn error_about_an_argument_of_any_bytes_is_one_line_that_can_be_printed() {
    let odd = |bytes| OsStr::from_bytes(bytes).to_owned();
    refused(shim([odd(b"--bo\ngus\x1b[2J")]), 125, &["--bo\\ngus"]);
    refused(shim([odd(b"--exit=\xff\r")]), 125, &["--exit=", "mirror"]);
    refused(shim([odd(b"--\xff")]), 125, &["--help"]);
    refused(shim([odd(b"--watch=fd:\xff")]), 125, &["--watch=fd:"]);
    refused(
        shim_for([odd(b"no\nsuch\xffprogram")]),
        127,
        &["no\\nsuch", "program"],
    );
}

// Descriptors.

/// The shim with the descriptor on number 9.
fn with_fd(fd: impl Into<OwnedFd>, words: &[&str]) -> Command {
    let mut command = shim(words);
    let mut plan = PreserveFds::new();
    plan.map_fd(fd, 9).expect("a free number");
    plan.apply(&mut command).expect("a plan");
    command
}

#[test]
fn descriptor_that_is_not_open_is_refused_with_who_has_to_pass_it_on() {
    for number in ["77", "1048576", "2147483647"] {
        for option in ["--watch=fd:", "--status-fd="] {
            let option = format!("{option}{number}");
            refused(shim([&option]), 125, &[&option, "pass that descriptor on"]);
        }
    }
}

#[test]
fn number_that_no_descriptor_has_is_refused() {
    for number in ["-1", "+9", "2147483648", "99999999999999999999", "9x", " 9"] {
        for option in ["--watch=fd:", "--status-fd="] {
            let option = format!("{option}{number}");
            refused(shim([&option]), 125, &[&option, "descriptor"]);
        }
    }
}

#[test]
fn number_that_the_shim_itself_uses_was_not_passed_to_it() {
    for number in 3..=9 {
        for option in ["--watch=fd:", "--status-fd="] {
            let option = format!("{option}{number}");
            let mut command = Command::new("sh");
            let closed = "3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-";
            let script = format!("exec {SHIM} {option} -- echo started {closed}");
            command.args(["-c", &script]);
            refused(command, 125, &[&option, "pass that descriptor on"]);
        }
    }
}

#[test]
fn standard_stream_that_is_closed_is_refused() {
    for (option, closed) in [
        ("--watch=stdin", "<&-"),
        ("--watch=fd:0", "<&-"),
        ("--status-fd=1", ">&-"),
    ] {
        let mut command = Command::new("sh");
        let script = format!("exec {SHIM} {option} -- touch \"$0\" {closed}");
        let folder = Folder::new();
        command.args(["-c", &script, &text(&folder.join("started"))]);
        refused(command, 125, &[option, "pass that descriptor on"]);
        assert!(folder.names().is_empty(), "{option}");
    }
}

#[test]
fn watch_on_what_has_no_other_end_is_refused_with_what_has_one() {
    let folder = Folder::new();
    let file = folder.join("file");
    fs::write(&file, "").expect("write");
    for path in [Path::new("/dev/null"), &file, folder.path()] {
        let opened = File::open(path).expect("open");
        refused(
            with_fd(opened, &["--watch=fd:9"]),
            125,
            &["--watch=fd:9", "pipe"],
        );
        let mut by_stdin = shim(["--watch=stdin"]);
        by_stdin.stdin(File::open(path).expect("open"));
        refused(by_stdin, 125, &["--watch=stdin", "pipe"]);
    }
}

#[test]
fn watch_on_a_socket_without_a_connection_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let (datagrams, _other) = UnixDatagram::pair().expect("a pair");
    for socket in [OwnedFd::from(listener), udp.into(), datagrams.into()] {
        refused(
            with_fd(socket, &["--watch=fd:9"]),
            125,
            &["--watch=fd:9", "pair"],
        );
    }
}

#[test]
fn watch_on_the_write_end_of_a_pipe_is_refused() {
    let (_read, write) = io::pipe().expect("a pipe");
    let parts = ["--watch=fd:9", "not the read end", "the runtime"];
    refused(with_fd(write, &["--watch=fd:9"]), 125, &parts);
}

#[test]
fn watch_on_a_pipe_that_is_open_both_ways_is_refused() {
    let (read, _write) = io::pipe().expect("a pipe");
    let path = format!("/proc/self/fd/{}", read.as_raw_fd());
    let both = File::options().read(true).write(true).open(path);
    let command = with_fd(both.expect("open"), &["--watch=fd:9"]);
    refused(command, 125, &["--watch=fd:9", "not the read end"]);
}

#[test]
fn watch_on_a_pipe_that_has_ended_starts_nothing() {
    let (read, write) = io::pipe().expect("a pipe");
    drop(write);
    refused(with_fd(read, &["--watch=fd:9"]), 125, &["gone already"]);
}

#[test]
fn reports_to_what_is_not_open_for_writing_are_refused() {
    let (read, _write) = io::pipe().expect("a pipe");
    let parts = ["--status-fd=9", "not open for writing", "write end"];
    refused(with_fd(read, &["--status-fd=9"]), 125, &parts);
    refused(shim(["--status-fd=0"]), 125, &["--status-fd=0", "writing"]);
}

// COMMAND.

/// A file with this content and mode.
fn file(folder: &Folder, name: &str, content: &[u8], mode: u32) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, content).expect("write");
    fs::set_permissions(&path, Permissions::from_mode(mode)).expect("chmod");
    path
}

#[track_caller]
fn not_started(command: &Path, code: i32, reason: &str) {
    let name = text(command);
    refused(shim_for(["--", &name]), code, &[&name, reason]);
}

#[test]
fn empty_command_is_not_found_and_is_called_empty() {
    refused(shim_for(["--", ""]), 127, &["COMMAND is empty"]);
    refused(shim_for([""]), 127, &["COMMAND is empty"]);
}

#[test]
fn command_that_is_not_in_path_is_not_found() {
    refused(
        shim_for(["no-such-program"]),
        127,
        &["no-such-program", "PATH"],
    );
    let mut without = shim_for(["ls"]);
    without.env("PATH", "/nowhere");
    refused(without, 127, &["ls", "PATH"]);
}

#[test]
fn path_that_leads_nowhere_is_not_found() {
    not_started(Path::new("/no/such/program"), 127, "path");
    not_started(Path::new("/etc/passwd/program"), 127, "path");
}

#[test]
fn script_whose_interpreter_is_missing_is_not_found_and_that_is_said() {
    let folder = Folder::new();
    let script = file(&folder, "script", b"#!/no/such/shell\n", 0o755);
    not_started(&script, 127, "interpreter");
}

#[test]
fn directory_cannot_be_executed_and_is_called_one() {
    not_started(Folder::new().path(), 126, "directory");
}

#[test]
fn file_without_permission_cannot_be_executed() {
    let folder = Folder::new();
    not_started(&file(&folder, "data", b"#!/bin/sh\n", 0o644), 126, "chmod");
}

fn first_bytes(file: &Path) -> [u8; 64] {
    let mut bytes = [0; 64];
    let opened = File::open(file).expect("open");
    (&opened).read_exact(&mut bytes).expect("read");
    bytes
}

#[test]
fn program_for_another_machine_cannot_be_executed() {
    // The header of an executable, whose machine is none: elf(5).
    let mut header = first_bytes(Path::new(SHIM));
    header[18..20].copy_from_slice(&0xfff0_u16.to_ne_bytes());
    let folder = Folder::new();
    not_started(&file(&folder, "foreign", &header, 0o755), 126, "machine");
}

#[test]
fn file_that_is_neither_program_nor_script_cannot_be_executed() {
    let folder = Folder::new();
    for content in [&b"\x7fELF and then nothing"[..], b"echo a script", b""] {
        not_started(&file(&folder, "data", content, 0o755), 126, "#!/bin/sh");
    }
}

#[test]
fn links_in_a_circle_cannot_be_executed() {
    let folder = Folder::new();
    let circle = folder.join("circle");
    symlink(&circle, &circle).expect("a link");
    not_started(&circle, 126, "links");
}

// What this machine or this user cannot have.

/// The shim as a user without privilege, from a place that everybody may enter.
fn unprivileged(folder: &Folder, words: &[&str]) -> Command {
    // SAFETY: takes nothing.
    if unsafe { libc::geteuid() } != 0 {
        return shim(words);
    }
    let copy = folder.join("watchdog-shim");
    if !copy.exists() {
        fs::copy(SHIM, &copy).expect("copy the shim");
    }
    let mut command = Command::new(copy);
    command.args(words).args(["--", "echo", "started"]);
    command.stdin(Stdio::null()).uid(65534).gid(65534);
    command.current_dir("/");
    command
}

#[test]
fn requirement_that_is_not_met_is_refused_with_the_way_out_whoever_asks() {
    let folder = Folder::new();
    let words = ["--contain=subreaper", "--require=certain"];
    let parts = ["--require=certain", "--contain=pidns", "--require=good"];
    refused(shim(words), 125, &parts);
    refused(unprivileged(&folder, &words), 125, &parts);
    refused(unprivileged(&folder, &["--require=certain"]), 125, &parts);
}

#[test]
fn cgroup_is_refused_to_a_user_who_may_write_to_none() {
    let folder = Folder::new();
    let parts = ["--contain=cgroup", "delegate", "--contain=subreaper"];
    refused(unprivileged(&folder, &["--contain=cgroup"]), 125, &parts);
}

#[test]
fn shim_that_is_refused_leaves_no_cgroup_behind() {
    if !can(SHIM, "cgroup") {
        return;
    }
    alone_in_pid_namespace!({
        // Its name has the number of the namespace that the shim is in.
        let namespace = fs::metadata("/proc/self/ns/pid").expect("/proc").ino();
        let number = format!("-{namespace}");
        let is_ours = |entry: &fs::DirEntry| {
            let name = text(&entry.path());
            name.contains("/watchdog-shim-") && name.ends_with(&number)
        };
        let folder = own_cgroup().expect("a hierarchy of version 2");
        // The kernel gives a namespace's number again: one of an earlier run may have left some.
        let ours = || -> BTreeSet<PathBuf> {
            let entries = fs::read_dir(&folder).expect("a cgroup").flatten();
            entries.filter(is_ours).map(|entry| entry.path()).collect()
        };
        let before = ours();
        for words in [&["--require=certain"][..], &["--status-fd=77"]] {
            refused(shim([&["--contain=cgroup"], words].concat()), 125, words);
            // A left one may have had the name of the new one, which was made in its place.
            let left: Vec<_> = ours().difference(&before).cloned().collect();
            assert!(left.is_empty(), "{words:?}: {left:?}");
        }
    });
}

#[test]
fn pid_namespace_is_refused_where_none_can_be_made_with_the_way_out() {
    alone!({
        seccomp::refuse(&[(libc::SYS_unshare, libc::EPERM)]);
        let folder = Folder::new();
        let parts = ["--contain=pidns", "--contain=subreaper", "CAP_SYS_ADMIN"];
        refused(shim(["--contain=pidns"]), 125, &parts);
        refused(unprivileged(&folder, &["--contain=pidns"]), 125, &parts);
    });
}

#[test]
fn pid_namespace_over_the_limit_is_refused_with_the_place_of_the_limit() {
    alone!({
        seccomp::refuse(&[(libc::SYS_unshare, libc::ENOSPC)]);
        let parts = ["--contain=pidns", "/proc/sys/user", "--contain=subreaper"];
        refused(shim(["--contain=pidns"]), 125, &parts);
    });
}

#[test]
fn limit_on_descriptors_that_is_too_low_is_named_wherever_it_is_hit() {
    alone!({
        // The loader of the program needs two numbers itself.
        let mut limits = 5..32;
        let enough = limits.find(|limit| {
            let text = format!("ulimit -n {limit}; exec \"$0\" -- echo started");
            let mut command = Command::new("sh");
            let output = command.args(["-c", &text, SHIM]).output().expect("sh");
            let is_enough = output.status.success();
            if !is_enough {
                assert_eq!(output.status.code(), Some(125), "{limit}: {output:?}");
                assert!(output.stdout.is_empty(), "{limit}: {output:?}");
                let said = String::from_utf8(output.stderr).expect("UTF-8");
                assert_one_line(&said, &["ulimit -n", "os error 24"]);
            }
            is_enough
        });
        // Every stage of the start was the first to fail once.
        assert!(enough.is_some_and(|enough| enough > 8), "{enough:?}");
    });
}

#[test]
fn limit_on_processes_is_named() {
    alone!({
        let folder = Folder::new();
        let mut command = unprivileged(&folder, &[]);
        // SAFETY: setrlimit is async-signal-safe, and the limit is the child's alone.
        unsafe {
            command.pre_exec(|| {
                let none = libc::rlimit {
                    rlim_cur: 0,
                    rlim_max: 0,
                };
                match libc::setrlimit(libc::RLIMIT_NPROC, &raw const none) {
                    0 => Ok(()),
                    _ => Err(io::Error::last_os_error()),
                }
            });
        }
        refused(command, 125, &["ulimit -u", "pids.max", "os error 11"]);
    });
}

/// Whoever starts the shim knows its own pid. The shim alone could not tell who has adopted it.
#[test]
fn parent_with_another_pid_is_refused_and_both_are_named() {
    alone_in_pid_namespace!({
        let parts = ["--watch=parent:4321", "the parent is 1"];
        refused(shim(["--watch=parent:4321"]), 125, &parts);
        let mut told = shim(["--watch=parent:1"]);
        let told = told.stdout(Stdio::piped()).output().expect("the shim");
        assert!(told.status.success(), "{told:?}");
    });
}

/// The plan shows the way out.
#[test]
fn plan_is_told_even_where_its_options_are_refused() {
    alone!({
        seccomp::refuse(&[(libc::SYS_unshare, libc::EPERM)]);
        for words in [["--contain=pidns"], ["--require=certain"]] {
            let words = [words[0], "--print-plan"];
            let told = shim(words).output().expect("the shim");
            assert_eq!(told.status.code(), Some(125), "{words:?}: {told:?}");
            assert_one_line(&read_to_string(&*told.stderr).expect("UTF-8"), &words[..1]);
            let plan = read_to_string(&*told.stdout).expect("UTF-8");
            let lines = [
                "containment: these options are refused here",
                "  pidns: not here",
                "  subreaper: good",
            ];
            for line in lines {
                assert!(plan.lines().any(|told| told.starts_with(line)), "{plan}");
            }
        }
    });
}

#[test]
fn user_whose_ids_are_hidden_gets_no_namespace_and_is_told_why() {
    alone!({
        let folder = Folder::new();
        let command = unprivileged(&folder, &["--contain=pidns"]);
        // The namespace would be made for whatever number the refusal is.
        let calls = [libc::SYS_getresuid, libc::SYS_geteuid];
        seccomp::refuse(&calls.map(|call| (call, libc::ENOSYS)));
        refused(command, 125, &["--contain=pidns", "os error 38"]);
    });
}

#[test]
fn program_in_a_folder_that_the_user_may_not_enter_cannot_be_executed() {
    // SAFETY: takes nothing.
    if unsafe { libc::geteuid() } != 0 {
        return eprintln!(
            "skipped: not root, who alone can take a folder away from the user of the test"
        );
    }
    let (folder, hidden) = (Folder::new(), Folder::new());
    let program = text(&file(&hidden, "program", b"#!/bin/sh\n", 0o755));
    fs::set_permissions(hidden.path(), Permissions::from_mode(0o700)).expect("chmod");
    let _copied = unprivileged(&folder, &[]);
    let mut command = Command::new(folder.join("watchdog-shim"));
    command.args(["--", &program]).stdin(Stdio::null());
    command.uid(65534).gid(65534).current_dir("/");
    refused(command, 126, &[&program, "may not be entered"]);
}

// Where the error has no reader, and where a filter refuses what the shim stands on.

/// A pipe that nobody reads.
fn nobody() -> OwnedFd {
    let (_read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("pipe");
    write
}

#[test]
fn exit_code_is_the_same_where_nobody_reads_the_error() {
    let full = File::options().write(true).open("/dev/full");
    for stderr in [nobody(), full.expect("/dev/full").into()] {
        for (words, code) in [
            (&["--", "/nowhere"][..], 127),
            (&["--", "/dev/null"][..], 126),
            (&["--watch=env", "--", "true"][..], 125),
        ] {
            let status = Command::new(SHIM)
                .args(words)
                .stdin(Stdio::null())
                .stderr(stderr.try_clone().expect("a duplicate"))
                .status();
            let status = status.expect("run the shim");
            assert_eq!(status.code(), Some(code), "{words:?}: {status}");
        }
    }
}

#[test]
fn shim_that_cannot_wait_starts_nothing() {
    alone_in_pid_namespace!({
        seccomp::refuse(&[
            (libc::SYS_poll, libc::EPERM),
            (libc::SYS_ppoll, libc::EPERM),
        ]);
        let mut command = Command::new(SHIM);
        command.args(["--", "echo", "started"]).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // Not by `output`, which polls.
        let mut shim = command.spawn().expect("run the shim");
        let error = read_to_string(shim.stderr.take().expect("a pipe")).expect("read");
        let output = read_to_string(shim.stdout.take().expect("a pipe")).expect("read");
        let status = shim.wait().expect("wait");
        assert_eq!(status.code(), Some(125), "{status}: {error}");
        assert_eq!(output, "");
        assert!(error.contains("poll(2)"), "{error}");
    });
}

/// std panics where it makes a hash table and gets no random numbers.
#[test]
fn tree_is_stopped_where_random_numbers_are_refused() {
    alone_in_pid_namespace!({
        seccomp::refuse(&[(libc::SYS_getrandom, libc::EACCES)]);
        let text = "setsid sleep 1000 & exit 3";
        let mut command = shim_for(["--stop-timeout=100ms", "--", "sh", "-c", text]);
        let status = Guard::spawn(&mut command).wait_deadline();
        assert_eq!(status.code(), Some(3), "{status}");
    });
}

/// No pipe ever ends then, and nobody would learn that anybody is gone.
///
/// The shim is run by its library: the loader of a program that is linked dynamically gives up
/// before.
#[test]
fn shim_that_cannot_close_starts_nothing() {
    alone_in_pid_namespace!({
        let folder = Folder::new();
        for words in [&["--print-plan"][..], &["--", "touch", "started"]] {
            let said = File::create(folder.join("said")).expect("create a file");
            let mut shim = Fork::run(|| {
                env::set_current_dir(folder.path()).expect("chdir");
                rustix::stdio::dup2_stderr(&said).expect("dup2");
                seccomp::refuse(&[(libc::SYS_close, libc::EPERM)]);
                // SAFETY: a copy with one thread, in which nothing of the test goes on.
                unsafe { watchdog_shim::run(words.iter().map(OsString::from)) }
            });
            let status = shim.wait();
            let said = fs::read_to_string(folder.join("said")).expect("read");
            assert_eq!(status.code(), Some(125), "{status}: {said}");
            assert_one_line(&said, &["close(2)"]);
            assert_eq!(folder.names(), ["said"]);
        }
    });
}

// A program that is executed as the supervisor and is none.

#[test]
fn program_that_is_no_supervisor_and_exits_is_told_what_it_lacks() {
    alone!({
        // This test's own program reads the command line of a supervisor as that of a harness.
        let error = ShimSpawner::new("true")
            .stderr(shim_spawner::Stdio::null())
            .supervised(Supervisor::this_program())
            .spawn()
            .expect_err("it is no supervisor");
        assert_eq!(error.stage(), Stage::Supervisor, "{error}");
        let cause = error.source().expect("a cause").to_string();
        assert!(cause.contains("watchdog_shim::run_if_asked()"), "{cause}");
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::InvalidInput);
    });
}

#[test]
fn program_that_is_no_supervisor_and_says_nothing_is_killed_and_told_what_it_lacks() {
    let output = Command::new(NO_SUPERVISOR).output().expect("run");
    // The end of the output: nobody is left who could write to it.
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().expect("a line");
    assert!(last.contains("in time"), "{said}");
    assert!(last.contains("watchdog_shim::run_if_asked()"), "{said}");
}

#[test]
fn program_that_was_executed_as_the_supervisor_and_is_none_spawns_no_further() {
    let mut command = Command::new(NO_SUPERVISOR);
    command.arg0(watchdog_shim::NAME).stderr(Stdio::piped());
    let mut child = Guard::spawn(&mut command);
    let mut said = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let line = said.next().expect("a line").expect("read");
    assert!(line.contains("was executed as the supervisor"), "{line}");
    assert!(line.contains("watchdog_shim::run_if_asked()"), "{line}");
}
