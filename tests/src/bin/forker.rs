//! Trees that are all forks: a comet, which is one process with ever another number; and very many
//! sleepers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, setrlimit};
use workspace_tests::orders::Order;

/// So many numbers the comet has had when it is said to be on its way.
const ON_ITS_WAY: u32 = 100;

/// So many processes a comet may have, zombies included, and as which user.
const PROCESSES: u64 = 2_000;
const USER: libc::uid_t = 64_123;

/// A sleeper starts so many others.
const BRANCHES: u32 = 100;

fn main() -> ExitCode {
    Order::obey(|order| match order {
        Order::Comet { folder, lasts } => comet(&folder, lasts),
        Order::Sleepers {
            folder,
            count,
            ignore_term,
        } => sleepers(&folder, count, ignore_term),
        other => panic!("not for this program: {other:?}"),
    })
}

fn comet(folder: &Path, lasts: Duration) -> ExitCode {
    ignore_term();
    limit_processes(folder);
    let end = Instant::now() + lasts;
    let mut numbers = 0;
    while Instant::now() < end {
        // SAFETY: one thread, which goes on in the copy; the parent ends without running anything.
        match unsafe { libc::fork() } {
            0 => {
                numbers += 1;
                if numbers == ON_ITS_WAY {
                    fs::write(folder.join("ready"), "").expect("say that it is on its way");
                }
            }
            // No number is free at the moment.
            -1 => {}
            // SAFETY: ends this process alone.
            _ => unsafe { libc::_exit(0) },
        }
    }
    ExitCode::SUCCESS
}

/// Its zombies could fill the machine's table of processes, and fail what runs beside it. So it
/// becomes a user to whom a limit applies, which root has none of.
fn limit_processes(folder: &Path) {
    let everybody = fs::Permissions::from_mode(0o777);
    fs::set_permissions(folder, everybody).expect("own folder");
    let limit = Rlimit {
        current: Some(PROCESSES),
        maximum: Some(PROCESSES),
    };
    setrlimit(Resource::Nproc, limit).expect("a lower limit");
    // SAFETY: plain numbers, and one thread. A user that is no user already stays what it is.
    unsafe { libc::setresuid(USER, USER, USER) };
}

/// The leader starts branches, and each of them sleepers.
fn sleepers(folder: &Path, count: u32, deaf: bool) -> ! {
    if deaf {
        ignore_term();
    }
    let (mut told, tell) = std::io::pipe().expect("a pipe");
    let mut left = count;
    while left > 0 {
        let below = left.min(BRANCHES) - 1;
        left -= below + 1;
        fork(|| {
            for _ in 0..below {
                fork(|| wait_for_ever());
            }
            std::io::Write::write_all(&mut &tell, b".").expect("tell the leader");
            wait_for_ever();
        });
    }
    drop(tell);
    let mut ready = vec![0; count.div_ceil(BRANCHES) as usize];
    std::io::Read::read_exact(&mut told, &mut ready).expect("all live");
    fs::write(folder.join("ready"), "").expect("say that all live");
    wait_for_ever();
}

fn ignore_term() {
    // SAFETY: SIG_IGN is no function that could be wrong.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
}

fn fork(child: impl FnOnce()) {
    // SAFETY: this program has one thread, so that its copy may do everything.
    match unsafe { libc::fork() } {
        0 => child(),
        pid => assert!(pid > 0, "fork: {}", std::io::Error::last_os_error()),
    }
}

fn wait_for_ever() -> ! {
    loop {
        // SAFETY: takes nothing.
        unsafe { libc::pause() };
    }
}
