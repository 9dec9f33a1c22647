//! The PID namespace in which faults are injected: this process is its pid 1, and two strangers
//! live in it, whom nobody may signal.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::{namespace, proc_fs};

/// This process as pid 1, and the strangers.
#[derive(Debug)]
pub struct World {
    strangers: [i32; 2],
}

impl World {
    /// What /proc shows is this namespace: in one that was made without it, it is mounted here.
    pub fn mount() {
        let is_shown = fs::read_link("/proc/self").is_ok_and(|own| own == Path::new("1"));
        if std::process::id() == 1 && !is_shown {
            namespace::mount_proc();
        }
    }

    /// # Panics
    /// If this process is not pid 1 of its PID namespace, as /proc shows it: it kills whoever is
    /// left after a case.
    #[must_use]
    pub fn new() -> World {
        let own = fs::read_link("/proc/self").expect("/proc");
        let alone = std::process::id() == 1 && own == Path::new("1");
        assert!(alone, "faults are injected in a PID namespace alone");
        World {
            strangers: [stranger(false), stranger(true)],
        }
    }

    /// Everybody else who lives.
    #[must_use]
    pub fn living(&self) -> BTreeSet<i32> {
        let is_other = |pid: i32| pid != 1 && !self.strangers.contains(&pid);
        let all = proc_fs::all().into_iter();
        all.filter(|stat| is_other(stat.pid) && !stat.is_zombie())
            .map(|stat| stat.pid)
            .collect()
    }

    /// Kills them, and reaps all that has ended. Whether the strangers lived until now.
    pub fn clear(&mut self) -> bool {
        loop {
            let left = self.living();
            for &pid in &left {
                // SAFETY: takes no pointer. Everybody in this namespace is ours to kill, and only
                // this process reaps them: a number is still theirs, or nobody's.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
            let mut lived = true;
            loop {
                // SAFETY: no status is asked for.
                let reaped = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
                if reaped <= 0 {
                    break;
                }
                if let Some(index) = self.strangers.iter().position(|pid| *pid == reaped) {
                    lived = false;
                    self.strangers[index] = stranger(index == 1);
                }
            }
            if left.is_empty() || !lived {
                return lived;
            }
            std::thread::yield_now();
        }
    }
}

impl Default for World {
    fn default() -> World {
        World::new()
    }
}

/// A process that any signal with a default action ends: in this process's group, or in one of its
/// own.
fn stranger(own_group: bool) -> i32 {
    // SAFETY: this process has one thread, and the copy makes calls alone that take no pointer.
    match unsafe { libc::fork() } {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        // SAFETY: takes no pointer.
        0 => unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if own_group {
                libc::setpgid(0, 0);
            }
            loop {
                libc::pause();
            }
        },
        pid => pid,
    }
}
