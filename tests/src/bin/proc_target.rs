//! A process that ends in the way it is told to, for others to watch.

use std::io::{Read, Write, stdin, stdout};
use std::process::{Command, ExitCode, Stdio, exit};

use rustix::process::{Resource, Rlimit, setrlimit};
use workspace_tests::orders::Order;
use workspace_tests::{proc_fs, until};

fn main() -> ExitCode {
    Order::obey(|order| {
        match order {
            Order::Exit { code } => exit(code),
            Order::ExitAtEof { code } => {
                read_to_eof();
                exit(code)
            }
            Order::Raise { signal } => raise(signal, Some(0)),
            Order::DumpCore { signal } => raise(signal, None),
            Order::LeaderFirst { code } => leader_first(code),
            Order::ParentOf { code } => parent(code),
            Order::Trace { pid } => trace(pid),
            other => panic!("not for this program: {other:?}"),
        }
        ExitCode::SUCCESS
    })
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

/// Has a child that ends with `code` and is reaped when it is told so.
fn parent(code: i32) {
    let mut child = Command::new(std::env::current_exe().expect("own path"))
        .arg(Order::ExitAtEof { code }.argument())
        .stdin(Stdio::piped())
        .spawn()
        .expect("spawn");
    say(&child.id().to_string());
    for line in stdin().lines() {
        match Order::parse(&line.expect("standard input")) {
            Order::EndChild => child.stdin = None,
            Order::ReapChild => {
                child.wait().expect("wait for own child");
                say("reaped");
            }
            other => panic!("not for this program: {other:?}"),
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
