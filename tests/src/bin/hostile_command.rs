//! COMMAND that does what a shell cannot: reaches for another process, or becomes the parent of
//! orphans.

use std::fs::{self, File};
use std::io;
use std::process::{Command, ExitCode};

use workspace_tests::orders::Order;

fn main() -> ExitCode {
    Order::obey(|order| match order {
        Order::Spy { pids } => {
            for pid in pids {
                println!("{}", reached(pid).join(" "));
            }
            ExitCode::SUCCESS
        }
        Order::BeSubreaper => {
            // SAFETY: takes plain numbers.
            let done = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
            assert_eq!(done, 0, "{}", io::Error::last_os_error());
            let script = "trap '' TERM; setsid sh -c 'setsid sleep 1000 & exit 0'";
            let status = Command::new("sh").args(["-c", script]).status();
            assert!(status.expect("run sh").success());
            println!("ready");
            loop {
                std::thread::park();
            }
        }
        other => panic!("not for this program: {other:?}"),
    })
}

/// What of that process is open to this one.
fn reached(pid: i32) -> Vec<&'static str> {
    let mut reached = Vec::new();
    if fs::read_dir(format!("/proc/{pid}/fd")).is_ok() {
        reached.push("descriptors");
    }
    if File::open(format!("/proc/{pid}/mem")).is_ok() {
        reached.push("memory");
    }
    if fs::read(format!("/proc/{pid}/environ")).is_ok() {
        reached.push("environment");
    }
    // SAFETY: plain numbers; the descriptors end with this process, and a process that is seized
    // goes on.
    unsafe {
        let handle = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        if handle >= 0 && libc::syscall(libc::SYS_pidfd_getfd, handle, 0, 0) >= 0 {
            reached.push("copy");
        }
        if libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) == 0 {
            reached.push("trace");
        }
    }
    reached
}
