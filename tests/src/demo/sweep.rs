//! Leaving nothing behind, whatever went wrong.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitOptions, set_child_subreaper, wait};

use super::proc_fs;
use super::process::Process;

/// SIGKILL needs no longer, unless a process sits in a system call that the kernel does not end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whose parent dies becomes our child: none can escape the count or the sweep to the machine's
/// init.
pub(super) fn adopt_orphans() -> std::io::Result<()> {
    // Any number but zero switches it on. Linux 3.4.
    // https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html
    Ok(set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// Kills and reaps every process of the run, and every child of ours, and removes the run's folder.
pub(super) fn sweep(run: &Path) {
    let mark = run.to_string_lossy();
    let me = own_pid();
    let deadline = Instant::now() + PATIENCE;
    loop {
        // All children of ours are of the run: the front and the director start nothing else.
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        let left: Vec<_> = proc_fs::all()
            .into_iter()
            .filter(|stat| !stat.is_zombie() && stat.pid != me)
            .filter(|stat| stat.ppid == me || proc_fs::is_marked(stat.pid, &mark))
            .collect();
        if left.is_empty() || Instant::now() > deadline {
            break;
        }
        for stat in left {
            // Looked at again with the pidfd in hand: the number may be another's by now.
            if let Ok(Some(process)) = Process::open(stat.pid)
                && (proc_fs::stat(stat.pid).is_some_and(|now| now.ppid == me)
                    || proc_fs::is_marked(stat.pid, &mark))
            {
                let _ = process.kill();
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    let _ = std::fs::remove_dir_all(run);
}

pub(super) fn own_pid() -> i32 {
    Pid::as_raw(Some(rustix::process::getpid()))
}
