//! A process that ends in the way it is told to, for others to watch.

use std::io::{Read, Write, stdin, stdout};
use std::process::{Command, Stdio, exit};

use rustix::process::{Resource, Rlimit, setrlimit};
use workspace_tests::{proc_fs, until};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["exit", code] => exit(number(code)),
        ["exit-at-eof", code] => {
            read_to_eof();
            exit(number(code))
        }
        ["raise", signal] => raise(number(signal), Some(0)),
        ["dump-core", signal] => raise(number(signal), None),
        ["leader-first", code] => leader_first(number(code)),
        ["parent", code] => parent(code),
        ["trace", pid] => trace(number(pid)),
        _ => panic!("unknown arguments: {args:?}"),
    }
}

fn number(text: &str) -> i32 {
    text.parse().expect("a number")
}

fn read_to_eof() {
    stdin()
        .read_to_end(&mut Vec::new())
        .expect("standard input");
}

fn say(line: &str) {
    println!("{line}");
    stdout().flush().expect("standard output");
}

/// Dies of `signal`, whose disposition is the default one: the runner may ignore some.
fn raise(signal: i32, core_limit: Option<u64>) {
    setrlimit(
        Resource::Core,
        Rlimit {
            current: core_limit,
            maximum: core_limit,
        },
    )
    .expect("limit");
    // SAFETY: plain calls on this process's own signal state; no handler is installed.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
        libc::raise(signal);
    }
    panic!("signal {signal} did not end this process");
}

/// The main thread ends; another one lives until standard input ends, and decides how.
fn leader_first(code: i32) {
    std::thread::spawn(move || {
        let pid = std::process::id();
        until("leader is gone", || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/stat")).ok()?;
            stat.rsplit(')')
                .next()?
                .trim_start()
                .starts_with('Z')
                .then_some(())
        });
        assert!(proc_fs::stat(pid.cast_signed()).is_some());
        say("leader gone");
        read_to_eof();
        exit(code)
    });
    // SAFETY: ends this thread alone, at once. Nothing of its stack is borrowed: the other thread's
    // closure owns what it uses.
    unsafe { libc::syscall(libc::SYS_exit, 77) };
}

/// Has a child that ends with `code` when told "end", and is reaped when told "reap".
fn parent(code: &str) {
    let mut child = Command::new(std::env::current_exe().expect("own path"))
        .args(["exit-at-eof", code])
        .stdin(Stdio::piped())
        .spawn()
        .expect("spawn");
    say(&child.id().to_string());
    for line in stdin().lines() {
        match line.expect("standard input").as_str() {
            "end" => child.stdin = None,
            "reap" => {
                child.wait().expect("wait for own child");
                say("reaped");
            }
            other => panic!("unknown order: {other}"),
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Traces `pid` and lets its death wait until standard input ends.
fn trace(pid: i32) {
    // SAFETY: PTRACE_SEIZE takes no pointer; the other process is the test's own.
    let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) };
    if seized != 0 {
        say(&format!("refused: {}", std::io::Error::last_os_error()));
        return;
    }
    say("tracing");
    read_to_eof();
}
