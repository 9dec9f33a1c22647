//! What the children of a spawner do, by order. Each ends at the end of its standard input,
//! whatever happens; only the shim waits for its watchdog.

use std::io::{self, BufRead, Write};
use std::os::fd::RawFd;
use std::process::ExitCode;

use rustix::process::{Pid, PidfdGetfdFlags, pidfd_getfd};
use shim_spawner::shim_config;
use watchdog_pipe::Watchdog;
use workspace_tests::fd_table::{self, id_of};
use workspace_tests::orders::Order;
use workspace_tests::signals;

fn main() -> ExitCode {
    signals::default_actions();
    Order::obey(|order| {
        match order {
            Order::ReadConfig => read_config(),
            Order::BeShim => be_shim(),
            Order::TellVerdict => tell_verdict(),
            Order::Intrude => intrude(),
            other => panic!("not for this program: {other:?}"),
        }
        ExitCode::SUCCESS
    })
}

fn say(line: &str) {
    let mut out = io::stdout();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .expect("standard output");
}

/// Answers every line, so that whoever asks knows it lives.
fn echo() {
    for line in io::stdin().lock().lines() {
        say(&line.expect("standard input"));
    }
}

fn config() -> Result<Option<Vec<u8>>, shim_spawner::ConfigError> {
    // SAFETY: nothing in this program owns the number that the variable names.
    unsafe { shim_config() }
}

/// Says how long the configuration is, and the sum of its bytes.
fn read_config() {
    let number = std::env::var("SHIM_CONFIG").ok();
    let Some(bytes) = config().expect("a configuration") else {
        return say("none");
    };
    let number: RawFd = number.as_deref().map_or(-1, number_of);
    assert_eq!(std::env::var_os("SHIM_CONFIG"), None);
    let stranger = fd_table::file_at(number);
    assert_eq!(config().expect("no error"), None, "read once");
    assert_eq!(
        id_of(number),
        Some(fd_table::id(&stranger)),
        "a stranger's file was touched"
    );
    let sum: u64 = bytes.iter().map(|byte| u64::from(*byte)).sum();
    say(&format!("{} {sum}", bytes.len()));
}

/// The number in `fd=4,memfd=1:77`.
fn number_of(variable: &str) -> RawFd {
    let number = variable
        .strip_prefix("fd=")
        .and_then(|rest| rest.split(',').next());
    number
        .and_then(|number| number.parse().ok())
        .expect("fd=NUMBER")
}

fn watchdog() -> Watchdog {
    // SAFETY: nothing in this program owns the number that the variable names.
    unsafe { Watchdog::from_env() }
        .expect("a link")
        .expect("a watchdog")
}

/// A shim as it should be: ends when its runtime lets go of it.
fn be_shim() {
    let _monitor = watchdog().enforce_inherited().expect("enforce");
    say("ready");
    // Not the end of the input: what ends this process is its watchdog.
    echo();
    loop {
        std::thread::park();
    }
}

/// Says what its watchdog told, and goes on.
fn tell_verdict() {
    let mut watchdog = watchdog();
    say("ready");
    say(&format!("{:?}", watchdog.wait().expect("wait")));
    echo();
}

/// Tries every descriptor it was given as a handle on its parent.
fn intrude() {
    let parent = rustix::process::getppid().map_or(0, |pid: Pid| pid.as_raw_nonzero().get());
    let given: Vec<RawFd> = (0..1024).filter(|fd| id_of(*fd).is_some()).collect();
    let mut reached = Vec::new();
    for &fd in &given {
        // SAFETY: open, as just seen, and nothing in this process closes it.
        let handle = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
        if (0..64).any(|theirs| pidfd_getfd(handle, theirs, PidfdGetfdFlags::empty()).is_ok()) {
            reached.push(format!("pidfd_getfd({fd})"));
        }
        // SAFETY: setns(2) has no memory effect. Type 0 takes any namespace; the others are for
        // pidfds.
        let entered = [0, libc::CLONE_NEWUTS, libc::CLONE_NEWNET]
            .iter()
            .any(|kind| unsafe { libc::setns(fd, *kind) } == 0);
        if entered {
            reached.push(format!("setns({fd})"));
        }
        let file = std::fs::read_link(format!("/proc/self/fd/{fd}")).expect("a link");
        let file = file.to_string_lossy().into_owned();
        if file.contains("pidfd") || file.starts_with("/proc/") {
            reached.push(format!("{fd} is {file}, parent {parent}"));
        }
    }
    say(&format!(
        "{} given, reached: {}",
        given.len(),
        reached.join("; ")
    ));
}
