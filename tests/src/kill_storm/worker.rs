//! Kills one runtime after the other, each in the same PID namespace of the worker's own.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::stat;

use super::aftermath::{self, Aftermath};
use super::case::{Case, Kind};
use super::line::Line;
use super::loss::Loss;
use super::runtime::Runtime;
use crate::cgroups::own_cgroup;
use crate::fork::Fork;
use crate::orphan::Flag;
use crate::{Folder, namespace, proc_fs, until};

/// Which cases are a worker's.
#[derive(Clone, Debug)]
pub(super) struct Share {
    pub(super) seed: u64,
    pub(super) kinds: Vec<Kind>,
    pub(super) numbers: Vec<u64>,
    /// How long somebody may take to be gone who should be.
    pub(super) patience: Duration,
    pub(super) loss: Option<Loss>,
}

/// Starts a worker. It is gone with the value, and with this process, and all that it has started
/// is gone with it.
pub(super) fn start(share: &Share, results: &File) -> Fork {
    Fork::run(|| {
        // SAFETY: a plain number; the next child is pid 1 of the new namespace.
        let unshared = unsafe { libc::unshare(libc::CLONE_NEWPID) };
        let error = std::io::Error::last_os_error();
        assert_eq!(unshared, 0, "a PID namespace: {error}");
        Fork::run(|| {
            assert!(namespace::unshare_mounts(), "a mount namespace");
            namespace::mount_proc();
            work(share, results);
        })
        .succeeds_in_time();
    })
}

fn work(share: &Share, results: &File) {
    let folder = Folder::new();
    // In memory: a disk would spend nearly all of the time in fsync, and few kills would hit
    // anything else.
    namespace::mount_tmpfs(folder.path(), "size=16m");
    let groups = cgroups();
    let steps = Flag::new();
    for &number in &share.numbers {
        let case = Case::of(share.seed, number, &share.kinds);
        let place = folder.join(number.to_string());
        fs::create_dir(&place).expect("a folder for the case");
        let played = catch_unwind(AssertUnwindSafe(|| play(share, &case, &place, steps)));
        let line = match &played {
            Ok(aftermath) => Line::Passed {
                kind: case.kind,
                method: format!("{:?}", case.method),
                sentinel: case.sentinel,
                steps: steps.get(),
                survivors: aftermath.survivors,
                settled_us: u64::try_from(aftermath.settled.as_micros()).unwrap_or(u64::MAX),
            },
            Err(_) => {
                eprintln!("case {number}: {case:?}");
                Line::Failed { number }
            }
        };
        line.write(results).expect("the director listens");
        if played.is_err() {
            return;
        }
        fs::remove_dir_all(&place).expect("remove the folder");
    }
    until("no cgroup is left", || {
        cgroups().is_subset(&groups).then_some(())
    });
}

fn play(share: &Share, case: &Case, folder: &Path, steps: Flag) -> Aftermath {
    let before = proc_fs::own_fds();
    let loss = share.loss;
    steps.set(0);
    let mut runtime = Fork::run(|| {
        let runtime = Runtime {
            case,
            folder,
            steps,
            loss,
        };
        runtime.run()
    });
    until("the runtime has come so far, or has failed", || {
        let is_there = steps.get() >= case.steps || !proc_fs::is_running(runtime.pid());
        is_there.then_some(())
    });
    // Not a proof of anything: the instant is what is random.
    std::thread::sleep(case.delay);
    runtime.signal(libc::SIGKILL);
    let killed = Instant::now();
    let status = runtime.wait();
    assert_eq!(status.code(), None, "the runtime has failed before");
    let aftermath = aftermath::look(case.kind, folder, killed, share.patience);
    assert_eq!(proc_fs::own_fds(), before, "stray descriptors");
    aftermath
}

/// The cgroups of supervisors in this PID namespace, whose number is in their names.
fn cgroups() -> BTreeSet<PathBuf> {
    let namespace = stat("/proc/self/ns/pid").expect("/proc").st_ino;
    let number = format!("-{namespace}");
    let entries = own_cgroup().and_then(|folder| fs::read_dir(folder).ok());
    let paths = entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    paths
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with("watchdog-shim-") && name.ends_with(&number))
        })
        .collect()
}
