//! No detached shim is lost, at whatever instant its runtime is killed.
//!
//! Everything runs in a PID namespace of its own: whatever is left of a runtime becomes a child of
//! the test, so that nothing has to be looked for.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pidfd_watcher::{Pid, Process, Signal};
use shim_spawner::{ShimIdentity, ShimSpawner, Stdio};
use workspace_tests::clone_method::CloneMethod;
use workspace_tests::fork::Fork;
use workspace_tests::{Folder, alone_in_pid_namespace, namespace, proc_fs, random, until};

/// How many runtimes are killed, unless the variable says otherwise.
const KILLS: usize = 300;

const VARIABLE: &str = "SHIM_KILLS";

/// So many in one namespace: it has a deadline.
const AT_ONCE: usize = 100;

/// A runtime spawns no more than that: it is killed long before, or waits for it.
const SHIMS: u32 = 50;

const METHODS: [CloneMethod; 4] = [
    CloneMethod::Clone3,
    CloneMethod::Clone,
    CloneMethod::Copy,
    CloneMethod::Fork,
];

#[test]
fn every_detached_shim_of_a_runtime_killed_at_a_random_instant_has_an_identity() {
    let kills = std::env::var(VARIABLE).ok();
    let kills = kills.map_or(KILLS, |kills| kills.parse().expect("a number of kills"));
    for _ in 0..kills.div_ceil(AT_ONCE) {
        alone_in_pid_namespace!({
            kill_and_find();
        });
    }
}

fn kill_and_find() {
    let program = fs::canonicalize("/bin/sleep").expect("a program that sleeps");
    let folder = Folder::new();
    // In memory: a disk would spend nearly all of the time in fsync, and few kills would hit
    // anything else.
    namespace::mount_tmpfs(folder.path(), "size=16m");
    let mut random = random();
    let (mut shims, mut kills) = (0, 0);
    while kills < AT_ONCE {
        let runtimes = METHODS.map(|method| Fork::run(|| runtime(method, &program, folder.path())));
        for mut runtime in runtimes {
            // Not a proof of anything: the instant is what is random.
            let instant = u64::try_from(random.usize(..4_000)).expect("64 bits");
            std::thread::sleep(Duration::from_micros(instant));
            runtime.signal(libc::SIGKILL);
            runtime.wait();
            kills += 1;
        }
        shims += settled(&program, folder.path());
    }
    eprintln!("{kills} runtimes killed, {shims} shims found again");
    assert!(shims > 0, "no runtime got as far as a shim");
}

/// Spawns detached shims until it is killed.
fn runtime(method: CloneMethod, program: &Path, folder: &Path) {
    method.force();
    for number in 0..SHIMS {
        let path = folder.join(format!("{method:?}-{number}"));
        let shim = ShimSpawner::new(program)
            .arg("1000")
            .engine(method.engine())
            .detached(true)
            .stdin(Stdio::null())
            .identity_file(path)
            .spawn()
            .expect("spawn");
        // No reaper: it is not to end by this process's own doing.
        std::mem::forget(shim);
    }
    loop {
        std::thread::park();
    }
}

/// Waits until all that is left of the runtimes are shims that run the program, and finds each by
/// its identity; ends them. How many there were.
fn settled(program: &Path, folder: &Path) -> usize {
    let left = until("children become the program, or end", || children(program));
    let mut found: BTreeMap<i32, ShimIdentity> = BTreeMap::new();
    let saved: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    for path in &saved {
        let identity = ShimIdentity::load(path).unwrap_or_else(|error| panic!("{error}"));
        found.insert(identity.pid().as_raw_nonzero().get(), identity);
    }
    for pid in &left {
        let identity = found.get(pid).unwrap_or_else(|| {
            panic!("process {pid} has no identity; there are {saved:?}");
        });
        let shim = identity.open().expect("the same process");
        assert!(shim.try_wait().expect("poll").is_none());
        assert_eq!(identity.is_attached(), Some(false));
        let proven = ShimIdentity::of(&shim).expect("alive").proven();
        assert_eq!(identity.proven(), proven, "as far as this kernel proves it");
        shim.send_signal(Signal::KILL).expect("our child");
        shim.wait().expect("poll");
        shim.reap().expect("our child");
    }
    for path in saved {
        fs::remove_file(path).expect("remove");
    }
    left.len()
}

/// The children of this process that run `program`, once there are no others.
fn children(program: &Path) -> Option<Vec<i32>> {
    let mut running = Vec::new();
    for child in proc_fs::children_of(1) {
        if child.state == 'Z' {
            let pid = Pid::from_raw(child.pid).expect("positive");
            let zombie = Process::open(pid).expect("our child, not reaped");
            zombie.reap().expect("our child");
        } else if fs::read_link(format!("/proc/{}/exe", child.pid)).ok()? == program {
            running.push(child.pid);
        } else {
            return None;
        }
    }
    Some(running)
}
