//! A tree of seven that does not want to end: the leader traps SIGTERM, writes the instant to a
//! file and exits with 42; a child in its group; two children in sessions of their own; a daemon
//! made by a double fork; one that ignores SIGTERM; one in a group of its own. All but the leader
//! wait for ever.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use workspace_tests::clock;
use workspace_tests::orders::Order;

/// When the handler ran; 0 until then.
static ASKED: AtomicU64 = AtomicU64::new(0);

extern "C" fn asked(_: libc::c_int) {
    ASKED.store(clock::now(), Ordering::Release);
}

fn main() -> ExitCode {
    Order::obey(|order| match order {
        Order::HostileTree { folder } => lead(&folder),
        other => panic!("not for this program: {other:?}"),
    })
}

fn lead(folder: &Path) -> ExitCode {
    // SAFETY: the handler reads a clock and stores to an atomic, which is async-signal-safe; this
    // process has one thread.
    unsafe {
        let handler: extern "C" fn(libc::c_int) = asked;
        libc::signal(libc::SIGTERM, handler as libc::sighandler_t);
    }
    let (mut told, tell) = std::io::pipe().expect("a pipe");
    let members: [fn(); 6] = [
        || {},
        || session(),
        || session(),
        daemon,
        || ignore_term(),
        || group(),
    ];
    for member in members {
        fork(|| {
            // SAFETY: SIG_DFL is no function that could be wrong.
            unsafe { libc::signal(libc::SIGTERM, libc::SIG_DFL) };
            member();
            (&tell).write_all(b".").expect("tell the leader");
            wait_for_ever()
        });
    }
    drop(tell);
    let mut ready = [0; 6];
    std::io::Read::read_exact(&mut told, &mut ready).expect("all members live");
    fs::write(folder.join("ready"), "").expect("say that the tree is ready");
    let asked = loop {
        match ASKED.load(Ordering::Acquire) {
            // SAFETY: takes nothing. A signal between the look and the wait is missed: the wait has
            // an end for that.
            0 => unsafe { libc::usleep(1000) },
            asked => break asked,
        };
    };
    fs::write(folder.join("term"), asked.to_string()).expect("say that the handler ran");
    ExitCode::from(42)
}

fn session() {
    // SAFETY: takes nothing; a child just forked leads no group.
    assert!(unsafe { libc::setsid() } > 0, "setsid");
}

fn group() {
    // SAFETY: plain numbers.
    assert_eq!(unsafe { libc::setpgid(0, 0) }, 0, "setpgid");
}

fn ignore_term() {
    // SAFETY: SIG_IGN is no function that could be wrong.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
}

/// Goes on in a grandchild whose parent is gone: whoever counts the members must not find that one.
fn daemon() {
    session();
    // SAFETY: takes nothing.
    let parent = unsafe { libc::getpid() };
    // SAFETY: one thread, which goes on in the copy; the parent of the copy ends without running
    // anything.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: takes nothing.
            while unsafe { libc::getppid() } == parent {
                // SAFETY: a plain number.
                unsafe { libc::usleep(100) };
            }
        }
        // SAFETY: ends this copy alone.
        pid => unsafe { libc::_exit(i32::from(pid < 0)) },
    }
}

fn fork(child: impl FnOnce()) {
    // SAFETY: this program has one thread, so that its copy may do everything.
    match unsafe { libc::fork() } {
        0 => child(),
        pid => assert!(pid > 0, "fork: {}", std::io::Error::last_os_error()),
    }
}

fn wait_for_ever() {
    loop {
        // SAFETY: takes nothing.
        unsafe { libc::pause() };
    }
}
